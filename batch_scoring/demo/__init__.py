"""The example job on an embedded database with synthetic applicants, from an empty folder to a BI query."""
