"""Immutable index versions: dense, lexical and passage stores, one pointer to the live one."""
