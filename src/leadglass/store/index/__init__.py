"""The index: what is held, found in milliseconds, with every direct identifier sealed.

``interfaces`` is the contract; ``service.SQLIndex`` implements it over ``sqlite.SQLiteDatabase`` or
``postgresql.PostgreSQLDatabase``; ``writer.IndexWriter`` groups what many threads add.
"""
