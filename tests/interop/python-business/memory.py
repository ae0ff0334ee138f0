"""What must outlive the process: which messages came, how far each number's events are kept, the vault's highest sequence.

No content: whoever reads this program's output has that first.
"""

import sqlite3

REMEMBERED = 35 * 24 * 3_600_000
TABLES = """
CREATE TABLE IF NOT EXISTS message (number TEXT, peer TEXT, direction INTEGER, id BLOB, kept_at INTEGER,
    PRIMARY KEY (number, peer, direction, id));
CREATE TABLE IF NOT EXISTS kept (number TEXT PRIMARY KEY, cursor INTEGER);
CREATE TABLE IF NOT EXISTS vault (number TEXT PRIMARY KEY, sequence INTEGER);
CREATE TABLE IF NOT EXISTS secret (name TEXT PRIMARY KEY, value BLOB);
"""


class Memory:
    def __init__(self, path):
        self.base = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self.base.execute("PRAGMA synchronous = FULL")
        self.base.executescript(TABLES)

    def one(self, query, *values):
        row = self.base.execute(query, values).fetchone()
        return row and row[0]

    def sequence(self, number):
        return self.one("SELECT sequence FROM vault WHERE number = ?", number) or 0

    def saw_sequence(self, number, sequence):
        self.base.execute("INSERT OR REPLACE INTO vault VALUES (?, ?)", (number, sequence))

    def secret(self, name, make):
        """What `make` made under this name, now or earlier."""
        self.base.execute("INSERT OR IGNORE INTO secret VALUES (?, ?)", (name, make()))
        return self.one("SELECT value FROM secret WHERE name = ?", name)

    def cursor(self, number):
        return self.one("SELECT cursor FROM kept WHERE number = ?", number) or 0

    def is_new(self, header):
        named = (header.number, header.peer, header.direction, header.message_id)
        return not self.one("SELECT 1 FROM message WHERE (number, peer, direction, id) = (?, ?, ?, ?)", *named)

    def keep(self, number, cursor, message, now):
        """The cursor and the header of a message that came with it, in one transaction."""
        with self.base:
            self.base.execute("BEGIN IMMEDIATE")
            self.base.execute("DELETE FROM message WHERE kept_at < ?", (now - REMEMBERED,))
            if message:
                named = (message.number, message.peer, message.direction, message.message_id, now)
                self.base.execute("INSERT OR IGNORE INTO message VALUES (?, ?, ?, ?, ?)", named)
            self.base.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", (number, max(cursor, self.cursor(number))))
