//! Keys as their owners handle them: the command line, `/keys`, and how soon a change is effective.

mod effective;
mod endpoints;
mod refusals;
