//! Offers as browsers write them, and offers as attackers write them.
