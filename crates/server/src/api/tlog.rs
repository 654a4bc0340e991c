//! The C2SP surface: checkpoint and tiles. Only what the published checkpoint covers is shown.

use axum::{
    extract::{Path, State},
    http::{HeaderName, Uri, header},
    response::{IntoResponse, Response},
};
use sceau_ledger::{Index, TILE_WIDTH, TileKind, TilePath, bundle};
use sceau_store::StoreError;

use super::{Answer, Shared, params::Params};
use crate::error::ServerError;

const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";
/// Tiles never change, but only those with a token may see them: `private` keeps them out of shared caches.
const FOREVER: &str = "private, max-age=31536000, immutable";
const BRIEFLY: &str = "private, max-age=1";

fn answer(kind: &'static str, cache: &'static str, body: Vec<u8>) -> Response {
    let headers: [(HeaderName, &str); 2] = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, cache)];
    (headers, body).into_response()
}

/// The newest checkpoint.
#[utoipa::path(
    get, path = "/log/checkpoint", tag = "proofs", operation_id = "getCheckpoint",
    responses(
        (status = 200, description = "A C2SP signed note", body = String, content_type = "text/plain"),
        (status = 404, description = "There is none yet: `not_found`"),
    ),
)]
pub(super) async fn checkpoint(State(app): Shared, uri: Uri) -> Answer<Response> {
    Params::read(&uri, &[])?;
    let published = app.published().await?;
    let published = published.ok_or_else(|| ServerError::NotFound("A checkpoint".to_owned()))?;
    Ok(answer(TEXT, BRIEFLY, published.note.as_bytes().to_vec()))
}

/// A tile of the tree, or a bundle of entries (C2SP tlog-tiles).
#[utoipa::path(
    get, path = "/log/tile/{*path}", tag = "proofs", operation_id = "getTile",
    params(("path" = String, Path, description = "`<L>/<N>[.p/<W>]` or `entries/<N>[.p/<W>]`.", allow_reserved)),
    responses(
        (status = 200, description = "The tile", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 410, description = "Retention deleted the entries: `entry_expired`"),
    ),
)]
pub(super) async fn tile(State(app): Shared, Path(path): Path<String>, uri: Uri) -> Answer<Response> {
    Params::read(&uri, &[])?;
    let path: TilePath =
        path.parse().map_err(|_| ServerError::NotFound("A tile at a path that is not of C2SP form".to_owned()))?;
    let size = app.published().await?.map_or(0, |published| published.head.size.0);
    let absent = || ServerError::NotFound(format!("Tile {path} in the published tree of {size} entries"));
    let level = match path.kind {
        TileKind::Level(level) => level,
        TileKind::Entries => 0,
    };
    let first = path.n.checked_mul(u64::from(TILE_WIDTH)).ok_or_else(absent)?;
    let end = first.checked_add(u64::from(path.len())).ok_or_else(absent)?;
    let there = size.checked_shr(8 * u32::from(level)).unwrap_or(0);
    if end > there {
        return Err(absent().into());
    }
    let store = app.reader().store();
    let body = match path.kind {
        TileKind::Level(level) => store.tile(level, path.n, path.len()).await?.concat(),
        TileKind::Entries => {
            let rows = store.entries(Index(first), usize::from(path.len())).await?;
            if rows.entries.len() != usize::from(path.len()) {
                return Err(StoreError::Damaged(format!("entries from {first} on are missing")).into());
            }
            let entries: Vec<&[u8]> = rows.entries.iter().map(Vec::as_slice).collect();
            bundle(&entries)?
        }
    };
    Ok(answer(BYTES, FOREVER, body))
}
