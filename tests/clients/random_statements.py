"""Random statements beside DuckDB: limits, joins, subqueries, sets, groups and windows, nested.

    python random_statements.py ADDRESS TOKEN SEED COUNT

The server of any store with a dataset `pool` answers over ADBC; DuckDB has a copy of its rows and ids. Each statement selects `a, b, c`, whole numbers or NULL,
in an order that leaves no choice, so the rows have to be the same, one by one. The same seed gives the same statements.
"""

import random
import sys

import adbc_driver_flightsql.dbapi as dbapi
import duckdb
from adbc_driver_flightsql import DatabaseOptions
from common import TOKEN, URI

SEED, COUNT = map(int, sys.argv[3:5])

# Correlated subqueries that gstore refuses: the start of what it says.
REFUSED = (
    "an aggregate without GROUP BY that names a column of the statement around its subquery",
    "a subquery that names a column of the statement around it",
)


class Statements:
    """Statements of a seed. A relation is the text of a query with the columns `a`, `b` and `c`."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def one(self, *choices):
        return self.random.choice(choices)

    def statement(self):
        """A query whose order has no ties but of equal rows."""
        order = ", ".join(f"{column} NULLS FIRST" for column in "abc")
        return f"SELECT a, b, c FROM ({self.relation(self.random.randint(1, 4))}) ORDER BY {order} {self.limit(0.3)}"

    def limit(self, share=0.8):
        if self.random.random() > share:
            return ""
        limit, offset = self.one(0, 1, 2, 3, 5, 10, 50, 500), self.one(0, 1, 2, 3, 7, 40, 120)
        return self.one(f"LIMIT {limit} OFFSET {offset}", f"LIMIT {limit}", f"OFFSET {offset}")

    def order(self):
        """By some columns and all of them in the end: a limit behind it leaves no choice of rows."""
        columns = self.random.sample(["b", "c"], self.random.randint(0, 2))
        rest = [column for column in "abc" if column not in columns]
        ways = ("", " DESC", " NULLS FIRST", " DESC NULLS LAST", " DESC NULLS FIRST")
        return "ORDER BY " + ", ".join(column + self.one(*ways) for column in columns + rest)

    def source(self):
        third = "CASE WHEN row % 5 = 0 THEN NULL ELSE (row % 4)::BIGINT END"
        return self.one(
            f"SELECT row::BIGINT AS a, ((row * 7919) % 13)::BIGINT AS b, {third} AS c FROM pool",
            "SELECT row::BIGINT AS a, (row % 3)::BIGINT AS b, length(id)::BIGINT AS c FROM pool WHERE row % 7 = 0",
            "SELECT range AS a, range % 7 AS b, 0 - range AS c FROM range(60)",
            "SELECT a, b, c FROM (VALUES (1, 2, NULL), (2, NULL, 3), (3, 3, 3), (4, NULL, NULL), (5, 2, 1)) v(a, b, c)",
        )

    def relation(self, depth):
        if depth == 0:
            return self.source()
        kinds = (self.limited, self.limited, self.correlated, self.member, self.set, self.joined, self.outer, self.scalar)
        kinds += (self.ranked, self.grouped, self.windows, self.distinct, self.rollup, self.compared, self.lateral, self.cased)
        return self.one(*kinds)(depth - 1)

    def other(self, depth):
        return self.relation(self.random.randint(0, depth))

    def limited(self, depth):
        where = self.one("", "", "WHERE a % 2 = 0", "WHERE b IS NOT NULL", "WHERE c > 1 OR b < 2")
        return f"SELECT a, b, c FROM ({self.relation(depth)}) {where} {self.order()} {self.limit()}"

    def correlated(self, depth):
        where = f"y.b = x.b{self.one('', ' AND y.c > x.c', ' AND y.a < x.a')}"
        exists = f"{self.one('', 'NOT ')}EXISTS (SELECT 1 FROM ({self.other(depth)}) y WHERE {where})"
        return f"SELECT a, b, c FROM ({self.relation(depth)}) x WHERE {exists}"

    def member(self, depth):
        where = self.one("", " WHERE y.b IS NOT NULL", " WHERE y.c = x.c")
        found = f"b {self.one('', 'NOT ')}IN (SELECT b FROM ({self.other(depth)}) y{where})"
        return f"SELECT a, b, c FROM ({self.relation(depth)}) x WHERE {found}"

    def set(self, depth):
        kind = self.one("UNION", "EXCEPT", "INTERSECT", "UNION ALL")
        return f"SELECT a, b, c FROM ({self.relation(depth)}) {kind} SELECT a, b, c FROM ({self.other(depth)})"

    def joined(self, depth):
        other = f"(SELECT a, min(b) AS b FROM ({self.other(depth)}) GROUP BY a)"
        on = f"x.a = y.a{self.one('', ' AND x.b < 5', ' AND y.b > 1')}"
        return f"SELECT x.a, y.b, x.c FROM ({self.relation(depth)}) x {self.one('', 'LEFT ')}JOIN {other} y ON {on}"

    def outer(self, depth):
        joined = f"({self.relation(depth)}) x {self.one('FULL', 'RIGHT')} JOIN ({self.other(depth)}) y ON x.a = y.a"
        return f"SELECT coalesce(x.a, y.a + 100000) AS a, y.b, x.c FROM {joined}"

    def scalar(self, depth):
        value = self.one("max(y.a)", "count(*)", "min(y.c)", "sum(y.a)::BIGINT")
        where = f"y.b = x.b{self.one('', ' AND y.c IS NOT NULL')}"
        return f"SELECT a, (SELECT {value} FROM ({self.other(depth)}) y WHERE {where}) AS b, c FROM ({self.relation(depth)}) x"

    def ranked(self, depth):
        number = f"row_number() OVER (PARTITION BY b {self.order()}) AS n"
        shown = self.one("", f"{self.order()} {self.limit()}")
        return f"SELECT a, b, c FROM (SELECT a, b, c, {number} FROM ({self.relation(depth)})) WHERE n <= {self.one(1, 2, 5)} {shown}"

    def grouped(self, depth):
        value = self.one("count(*)", "count(DISTINCT c)", "sum(c)", "min(c) FILTER (WHERE a % 2 = 0)")
        having = self.one("", "HAVING count(*) > 1", "HAVING max(c) IS NOT NULL")
        shown = self.one("", f"ORDER BY b NULLS FIRST {self.limit()}")
        return f"SELECT max(a) AS a, b, {value}::BIGINT AS c FROM ({self.relation(depth)}) GROUP BY b {having} {shown}"

    def windows(self, depth):
        frame = self.one("UNBOUNDED PRECEDING AND CURRENT ROW", "1 PRECEDING AND 1 FOLLOWING", "2 PRECEDING AND 1 PRECEDING")
        before = f"coalesce(lag(b, {self.one(1, 2)}) OVER ({self.order()}), -1)"
        total = f"sum(c) OVER (PARTITION BY b {self.order()} ROWS BETWEEN {frame})::BIGINT"
        # Of two equal rows, either might come first in each window.
        return f"SELECT a, {before} AS b, {total} AS c FROM (SELECT DISTINCT a, b, c FROM ({self.relation(depth)}))"

    def distinct(self, depth):
        order = f"ORDER BY b{self.one('', ' DESC')}, a{self.one('', ' DESC')}, c"
        return f"SELECT DISTINCT ON (b) a, b, c FROM ({self.relation(depth)}) {order} {self.limit()}"

    def rollup(self, depth):
        having = "HAVING count(*) > 0"
        return f"SELECT max(a) + 1000 * grouping(b) AS a, b, count(*) AS c FROM ({self.relation(depth)}) GROUP BY ROLLUP (b) {having}"

    def compared(self, depth):
        value = f"SELECT {self.one('max(a)', 'min(a)', 'avg(a)')} FROM ({self.other(depth)}) y{self.one('', ' WHERE y.b = x.b')}"
        return f"SELECT a, b, c FROM ({self.relation(depth)}) x WHERE a {self.one('<', '>=', '=')} ({value})"

    def lateral(self, depth):
        value = f"SELECT max(z.a) AS a FROM ({self.other(depth)}) z WHERE z.b = x.b"
        return f"SELECT x.a, y.a AS b, x.c FROM ({self.relation(depth)}) x JOIN LATERAL ({value}) y ON true"

    def cased(self, depth):
        guarded = "CASE WHEN b <> 0 AND a / b > 3 THEN b ELSE NULL END"
        return f"SELECT a, {guarded} AS b, c FROM ({self.relation(depth)}) WHERE CASE WHEN c > 0 THEN a % c = 0 ELSE true END"


def rows(ask, statement):
    """Rows as tuples of whole numbers and NULLs; an exception as its first line."""
    try:
        return [tuple(None if value is None else int(value) for value in row) for row in ask(statement)]
    except Exception as error:  # of either side, which are of many classes
        return str(error).splitlines()[0]


bearer = {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {TOKEN}"}
with dbapi.connect(URI, autocommit=True, db_kwargs=bearer) as connection, connection.cursor() as cursor:

    def ours(statement):
        cursor.execute(statement)
        return cursor.fetchall()

    cursor.execute("SELECT row, id FROM pool ORDER BY row")
    copy = cursor.fetch_arrow_table()
    duck = duckdb.connect()
    duck.execute("CREATE TABLE pool AS SELECT * FROM copy")
    statements = Statements(SEED)
    different, unanswered = [], 0
    for statement in (statements.statement() for _ in range(COUNT)):
        wanted = rows(lambda text: duck.execute(text).fetchall(), statement)
        found = rows(ours, statement)
        # What DuckDB refuses has no answer to compare with.
        if isinstance(wanted, str) or (isinstance(found, str) and any(text in found for text in REFUSED)):
            unanswered += 1
        elif found != wanted:
            different.append(f"{statement}\n  DuckDB {str(wanted)[:300]}\n  gstore {str(found)[:300]}")
    print(f"seed {SEED}: {COUNT} statements, {unanswered} refused, {len(different)} different")
    print("\n".join(different))
    assert not different and unanswered * 5 <= COUNT
print("all checked")
