"""What a piece of SQL text may do, judged without a parser: one file a dialect."""
