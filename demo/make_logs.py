#!/usr/bin/env python3
"""Writes the demo's log files: realistic, invented, and the same bytes every time.

Usage: make_logs.py DIRECTORY

auth.log     sshd, sudo and cron lines; two break-in attempts by password, one of which succeeds in the end
access.log   a web server's access log in the combined format; a scanner looking for forgotten files
app.json     an application's accesses: timestamp, ip, user, action, status

All addresses are of the blocks that RFC 5737 sets aside for documentation, or private.
"""

import datetime
import json
import pathlib
import sys

DAY = datetime.datetime(2026, 11, 21, tzinfo=datetime.timezone.utc)
USERS = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy"]
GUESSES = ["root", "admin", "oracle", "test", "ubuntu", "postgres", "git", "deploy"]
PAGES = ["/", "/login", "/account", "/orders", "/orders/1042", "/static/site.css", "/static/logo.svg", "/api/v1/status"]
HIDDEN = ["/.env", "/wp-login.php", "/phpmyadmin/", "/.git/config", "/backup.zip", "/server-status"]
AGENTS = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15",
    "curl/8.14.1",
]


class Dice:
    """SplitMix64, so that no version of Python changes the numbers."""

    def __init__(self, seed):
        self.state = seed

    def below(self, limit):
        self.state = (self.state + 0x9E3779B97F4A7C15) & (2**64 - 1)
        mixed = self.state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
        return (mixed ^ (mixed >> 31)) % limit

    def of(self, choices):
        return choices[self.below(len(choices))]


def office(dice):
    """An address of the company's own network."""
    return f"10.0.{dice.below(8)}.{1 + dice.below(250)}"


def auth_log(dice):
    lines = []

    def sshd(when, text):
        lines.append((when, f"sshd[{2000 + dice.below(30000)}]: {text}"))

    for _ in range(1400):
        when = 6 * 3600 + dice.below(14 * 3600)
        user, address, port = dice.of(USERS), office(dice), 32768 + dice.below(28000)
        if dice.below(20) == 0:
            sshd(when - 4, f"Failed password for {user} from {address} port {port} ssh2")
        sshd(when, f"Accepted publickey for {user} from {address} port {port} ssh2: ED25519 SHA256:demo")
        sshd(when + 1, f"pam_unix(sshd:session): session opened for user {user}(uid={1000 + USERS.index(user)}) by (uid=0)")
        if dice.below(6) == 0:
            lines.append((when + 9, f"sudo:    {user} : TTY=pts/0 ; PWD=/home/{user} ; USER=root ; COMMAND=/usr/bin/apt update"))
    for minute in range(0, 1440, 15):
        lines.append((minute * 60 + 1, f"CRON[{9000 + minute}]: pam_unix(cron:session): session opened for user root(uid=0) by (uid=0)"))

    # At night somebody tries many names, without success.
    for attempt in range(220):
        when, port = 2 * 3600 + 17 * 60 + attempt * 3, 40000 + attempt
        name = dice.of(GUESSES)
        if name != "root":
            sshd(when, f"Invalid user {name} from 203.0.113.45 port {port}")
            name = f"invalid user {name}"
        sshd(when + 1, f"Failed password for {name} from 203.0.113.45 port {port} ssh2")
        who = name if name.startswith("invalid") else f"authenticating user {name}"
        sshd(when + 1, f"Connection closed by {who} 203.0.113.45 port {port} [preauth]")
    # Later another address tries one name, slowly, and gets in.
    for attempt in range(37):
        sshd(13 * 3600 + attempt * 95, f"Failed password for deploy from 198.51.100.23 port {50000 + attempt} ssh2")
    when = 13 * 3600 + 37 * 95
    sshd(when, "Accepted password for deploy from 198.51.100.23 port 50037 ssh2")
    sshd(when + 1, "pam_unix(sshd:session): session opened for user deploy(uid=1100) by (uid=0)")
    lines.append((when + 30, "sudo:   deploy : TTY=pts/7 ; PWD=/tmp ; USER=root ; COMMAND=/bin/cat /etc/shadow"))

    lines.sort(key=lambda line: line[0])
    for when, text in lines:
        time = DAY + datetime.timedelta(seconds=when)
        yield f"{time:%b} {time.day:2d} {time:%H:%M:%S} gate-1 {text}"


def access_log(dice):
    lines = []
    for _ in range(3000):
        when, address = dice.below(86400), dice.of([office(dice), f"192.0.2.{1 + dice.below(200)}"])
        page, status = dice.of(PAGES), 200
        if dice.below(40) == 0:
            status = dice.of([301, 404, 500])
        lines.append((when, address, page, status, 200 + dice.below(40000), dice.of(AGENTS)))
    for attempt in range(180):
        lines.append((15 * 3600 + attempt * 2, "198.51.100.77", dice.of(HIDDEN), 404, 153, "masscan/1.3"))
    lines.sort(key=lambda line: line[0])
    for when, address, page, status, size, agent in lines:
        time = DAY + datetime.timedelta(seconds=when)
        yield f'{address} - - [{time:%d/%b/%Y:%H:%M:%S} +0000] "GET {page} HTTP/1.1" {status} {size} "-" "{agent}"'


def app_json(dice):
    lines = []
    for _ in range(1500):
        when = 7 * 3600 + dice.below(12 * 3600)
        lines.append((when, office(dice), dice.of(USERS), dice.of(["login", "read", "update", "export", "logout"]), "success"))
    for attempt in range(24):
        lines.append((11 * 3600 + attempt * 11, "203.0.113.99", "alice", "login", "failed"))
    for attempt in range(9):
        lines.append((1 * 3600 + attempt * 60, "10.0.3.12", "heidi", "export", "success"))
    lines.sort(key=lambda line: line[0])
    for number, (when, address, user, action, status) in enumerate(lines):
        time = DAY + datetime.timedelta(seconds=when, milliseconds=dice.below(1000))
        yield json.dumps({
            "timestamp": f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03d}Z",
            "ip": address, "user": user, "action": action, "status": status,
            "service": "orders", "request": 9007199254740993 + number,
        })


def main():
    directory = pathlib.Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    for name, lines in [("auth.log", auth_log(Dice(1))), ("access.log", access_log(Dice(2))), ("app.json", app_json(Dice(3)))]:
        text = "".join(line + "\n" for line in lines)
        (directory / name).write_text(text, encoding="utf-8")
        print(f"    {name}: {text.count(chr(10))} lines")


if __name__ == "__main__":
    main()
