"""Load, decide, save: plain functions on a transaction. No HTTP and no SQL here."""
