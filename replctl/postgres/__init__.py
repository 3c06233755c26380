"""PostgreSQL's side of things as pure functions: text and arguments in, text and arguments out."""
