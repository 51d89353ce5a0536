"""The only SQL, on a transaction that the caller opened.

What operators ask is SQLModel on a session (``Transaction``); what boxes ask all day is Core, spelt
``sa.``, on its connection (``CoreTransaction``). Every state change is one conditional UPDATE.
"""
