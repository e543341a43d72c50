//! catchat
