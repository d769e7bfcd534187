"""One refresh: what has to be done, the stages in order, and the receipt of what it cost."""
