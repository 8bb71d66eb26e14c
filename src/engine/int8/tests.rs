//! Every kernel of this machine against the plain one.
