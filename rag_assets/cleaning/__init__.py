"""Text as parsers give it → text fit to be stored: repeated lines and personal data out."""

from rag_assets.cleaning.clean import clean
from rag_assets.cleaning.duplicates import near_duplicates, sketch
from rag_assets.cleaning.repetition import Repetition, line_keys, measure

__all__ = ["Repetition", "clean", "line_keys", "measure", "near_duplicates", "sketch"]
