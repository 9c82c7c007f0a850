"""Reads after which nothing is left in their transaction.

Rules:

* What is called is on the list, or nobody knows what it leaves: a setting that holds until the transaction
  ends, a descriptor, a snapshot for others.
* A name with a schema, or in quotes, may be the application's own.
"""

from scalekit.database.sqltext.rules import TextRules

# What may stand before a parenthesis: keywords, types, and functions that only compute.
_KEYWORDS = """
all and any array as between by case cast distinct else end except exists filter from group having ilike in
intersect is join lateral like limit materialized not offset on or order over partition recursive row select
similar some then union using values when where with within
"""
_TYPES = """
bit char character dec decimal float interval nchar numeric time timestamp timestamptz varchar varying
"""
_FUNCTIONS = """
abs array_agg avg bit_and bit_or bool_and bool_or ceil ceiling char_length character_length coalesce concat
concat_ws count cume_dist current_date current_timestamp date date_part date_trunc dense_rank every extract
first_value floor format found_rows greatest group_concat if ifnull initcap json_agg json_build_object
json_object_agg jsonb_agg jsonb_build_object jsonb_object_agg lag last_value lead least left length lower
lpad ltrim max md5 min mod now nth_value ntile nullif octet_length percent_rank power rank regexp_replace
replace reverse right round row_count row_number row_to_json rpad rtrim sign split_part sqrt stddev
string_agg strpos substr substring sum to_char to_date to_json to_jsonb to_number to_timestamp to_tsquery
to_tsvector trim trunc ts_rank unnest upper variance websearch_to_tsquery
"""

_PLAIN = frozenset(f"{_KEYWORDS} {_TYPES} {_FUNCTIONS}".split())


def leaves_nothing(rules: TextRules, sql: str) -> bool:
    """Whether ``sql`` is a read, by ``rules``, after which nothing is left in its transaction for certain."""
    words = rules.words_of_read(sql)
    if words is None:
        return False
    before = zip(["", "", *words], ["", *words], words, strict=False)
    return all(_is_plain(*around) for *around, word in before if word == "(")


def _is_plain(before: str, word: str) -> bool:
    is_name = word[:1].isalpha() or word[:1] in ('"', "_", "$")
    return not is_name or (word in _PLAIN and before != ".")
