"""Manual operations on scored rows: rescore, preview, why, replay, retry from quarantine, retention."""
