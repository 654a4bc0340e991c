//! Entries that are still in the database.

use rusqlite::params;

use crate::{
    edit::{batch, edit_tail, prefix, put_batch, replace, sql},
    victim::{Victim, at, database, number, range},
};

#[test]
fn a_change_is_named_by_its_index() {
    let victim = Victim::get();
    for (what, index) in
        [("a sealed entry", victim.facts.tail + 60), ("one not yet sealed", victim.facts.unsealed + 60)]
    {
        let changed = &[at("entry_changed", index)];
        victim.named(&format!("a word of {what}"), changed, |data| {
            edit_tail(data, index, |place, batch| replace(&mut batch.lines[place], "failed", "passed"));
        });
        victim.named(&format!("one bit of {what}"), changed, |data| {
            edit_tail(data, index, |place, batch| *batch.lines[place].iter_mut().nth_back(5).unwrap() ^= 1);
        });
        let both = [at("entry_changed", index), at("entry_changed", index + 1)];
        victim.named(&format!("{what} exchanged with the next"), &both, |data| {
            edit_tail(data, index, |place, batch| batch.lines.swap(place, place + 1));
        });
        let missing = &[at("entry_missing", index)];
        victim.named(&format!("{what} taken out"), missing, |data| {
            edit_tail(data, index, |place, batch| drop(batch.lines.remove(place)));
        });
        let extra = &[at("entry_extra", index)];
        victim.named(&format!("another put in front of {what}"), extra, |data| {
            edit_tail(data, index, |place, batch| batch.lines.insert(place, forged(&batch.lines[place])));
        });
        victim.named(&format!("the prefix of {what}"), &[at("prefix", index)], |data| {
            edit_tail(data, index, |place, batch| batch.prefixes[4 * place] ^= 1);
        });
    }
}

fn forged(entry: &[u8]) -> Vec<u8> {
    let mut forged = entry.to_vec();
    replace(&mut forged, "failed", "passed");
    forged
}

#[test]
fn a_change_with_everything_beside_it_is_narrowed_down() {
    let victim = Victim::get();
    let index = victim.facts.tail + 60;
    // By the last seal, which lies inside these 256 entries.
    let cut_down = range("entry_changed", victim.facts.tail, victim.facts.unsealed - 1);
    let change = |data: &std::path::Path| {
        edit_tail(data, index, |place, batch| {
            batch.lines[place] = forged(&batch.lines[place]);
            let prefix = prefix(&batch.lines[place]);
            batch.prefixes[4 * place..4 * place + 4].copy_from_slice(&prefix);
        });
    };
    victim.named("an entry and its prefix", std::slice::from_ref(&cut_down), change);
    let bundle = index / 256;
    let hidden = [cut_down, victim.bundle("mac", index)];
    victim.named("its bundle's code removed as well", &hidden, |data| {
        change(data);
        sql(data, &format!("DELETE FROM mac WHERE bundle = {bundle}"));
    });
}

#[test]
fn an_order_that_was_kept_consistent_is_named() {
    let victim = Victim::get();
    let index = victim.facts.tail + 60;
    victim.named(
        "two entries exchanged with their prefixes",
        &[range("entry_changed", victim.facts.tail, victim.facts.unsealed - 1)],
        |data| {
            edit_tail(data, index, |place, batch| {
                batch.lines.swap(place, place + 1);
                let (one, other) = batch.prefixes[4 * place..].split_at_mut(4);
                one.swap_with_slice(&mut other[..4]);
            });
        },
    );
}

#[test]
fn batches_that_go_are_named() {
    let victim = Victim::get();
    let facts = &victim.facts;
    let copy = victim.copy();
    let sealed = batch(&copy.data(), facts.tail + 60);
    let (first, last) = (sealed.first, sealed.first + sealed.lines.len() as u64 - 1);
    let newest = number(&database(&copy.data()), "SELECT max(first) FROM tail");
    victim.named("a batch in the middle", &[range("entry_missing", first, last), at("order", last + 1)], |data| {
        sql(data, &format!("DELETE FROM tail WHERE first = {first}"));
    });
    victim.named("a batch that can't be inflated", &[range("entry_unreadable", first, last)], |data| {
        sql(data, &format!("UPDATE tail SET data = x'00' WHERE first = {first}"));
    });
    victim.named("the newest batch", &[range("entry_missing", newest, facts.size - 1)], |data| {
        sql(data, &format!("DELETE FROM tail WHERE first = {newest}"));
    });
    victim.named("the end of the newest batch", &[range("entry_missing", facts.size - 10, facts.size - 1)], |data| {
        let mut batch = batch(data, newest);
        batch.lines.truncate(batch.lines.len() - 10);
        batch.prefixes.truncate(batch.prefixes.len() - 40);
        put_batch(data, &batch);
    });
    let twice = [at("order", first + 1), at("order", last + 1)];
    victim.named("a batch that comes twice", &twice, |data| {
        let mut again = batch(data, first);
        again.first = first + 1;
        put_batch(data, &again);
    });
}

/// The newest entries go, and the head, codes and hashes say that there never were any.
#[test]
fn a_log_cut_off_is_named_although_its_head_was_lowered() {
    let victim = Victim::get();
    let (size, kept) = (victim.facts.size, victim.facts.size - 10);
    let copy = victim.copy();
    cut(&copy.data(), kept);
    let rollback = [range("mac", kept - kept % 256, kept - 1), range("rollback", kept, size - 1)];
    victim.names("the last ten with the head", &copy, &rollback);
    let late = victim.late();
    crate::victim::without_keys(&copy, &["--since-checkpoint", &late]).with(4);
}

fn cut(data: &std::path::Path, kept: u64) {
    let newest = number(&database(data), "SELECT max(first) FROM tail");
    let mut batch = batch(data, newest);
    let left = usize::try_from(kept - newest).unwrap();
    batch.lines.truncate(left);
    batch.prefixes.truncate(4 * left);
    put_batch(data, &batch);
    let mut tree = sceau_ledger::Tree::new();
    let entries = crate::forge::entries(data, kept);
    entries.iter().for_each(|entry| drop(tree.append(&[sceau_ledger::leaf_hash(entry)])));
    let head = tree.head();
    let connection = database(data);
    connection
        .execute("UPDATE head SET size = ?1, root = ?2", params![i64::try_from(kept).unwrap(), head.root.0.to_vec()])
        .unwrap();
    sql(data, &format!("DELETE FROM checkpoint WHERE size > {kept}"));
}
