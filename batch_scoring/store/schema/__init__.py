"""The tables, views, roles and queries of this package, and how a database comes to have them."""
