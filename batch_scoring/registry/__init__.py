"""Model versions: trained, registered, verified and promoted."""
