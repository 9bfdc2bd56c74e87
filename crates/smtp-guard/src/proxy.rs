//! The PROXY protocol: who the client of a balancer is.
