//! Development builds only: the process dies after it has done a request and before it answers, as by `kill -9` at that very moment.
//! `BATON_DIE_AFTER="POST /broker/v1/handoffs/*/accept"` names the request; `*` stands for one segment.

use std::sync::OnceLock;

/// Dies if this is the request.
pub fn after(method: &str, path: &str) {
    static WANTED: OnceLock<Option<String>> = OnceLock::new();
    let wanted = WANTED.get_or_init(|| std::env::var("BATON_DIE_AFTER").ok());
    if wanted.as_deref().is_some_and(|wanted| matches(wanted, method, path)) {
        // No destructor, no flush: what is not durable is lost.
        std::process::abort();
    }
}

fn matches(wanted: &str, method: &str, path: &str) -> bool {
    let Some((wanted_method, wanted_path)) = wanted.split_once(' ') else { return false };
    let (wanted, path): (Vec<_>, Vec<_>) = (wanted_path.split('/').collect(), path.split('/').collect());
    wanted_method == method && wanted.len() == path.len() && wanted.iter().zip(&path).all(|(wanted, one)| *wanted == "*" || wanted == one)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_is_one_segment() {
        let wanted = "POST /broker/v1/handoffs/*/accept";
        assert!(matches(wanted, "POST", "/broker/v1/handoffs/hof_1/accept"));
        assert!(!matches(wanted, "GET", "/broker/v1/handoffs/hof_1/accept"));
        assert!(!matches(wanted, "POST", "/broker/v1/handoffs/hof_1/seal"));
        assert!(!matches(wanted, "POST", "/broker/v1/handoffs/a/b/accept"));
    }
}
