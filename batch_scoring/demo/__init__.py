"""The main job on an embedded database with synthetic applicants, from nothing to what BI would query."""
