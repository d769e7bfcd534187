"""Incremental refresh: texts embedded and seconds, beside CocoIndex, LangChain, LlamaIndex."""
