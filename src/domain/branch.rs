//! Step-unique branch names: `{ticket}_{run}_Step{Name}`, parsed both ways.
