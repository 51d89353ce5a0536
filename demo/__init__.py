"""A whole fleet on one machine: the real server, three real boxes, one table.

It starts programs and speaks REST; it imports none of them, so what it shows is what a factory
would run.
"""
