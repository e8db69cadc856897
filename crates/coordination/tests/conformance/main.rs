//! What every coordination backend must do, asked of each with the same questions; and what only one of them can be asked.

mod cluster;
mod model;
mod raft;
mod suite;

/// Runs the whole suite against one backend.
macro_rules! conformance {
    ($backend:ident, $make:expr) => {
        mod $backend {
            macro_rules! ask {
                ($question:ident) => {
                    #[test]
                    fn $question() {
                        crate::suite::$question($make);
                    }
                };
            }
            ask!(an_accepted_command_is_seen_by_everybody_in_one_order);
            ask!(a_refusal_comes_back_typed_and_changes_nothing_but_the_audit_log);
            ask!(without_a_majority_nothing_is_decided);
            ask!(a_minority_sees_nothing_new_until_it_returns);
            ask!(a_restart_keeps_the_state);
            ask!(all_nodes_restarting_keep_the_state);
            ask!(a_node_that_lagged_far_behind_catches_up);
            ask!(a_leader_that_dies_between_proposals_loses_no_accepted_one);
            ask!(a_member_that_only_the_leader_does_not_reach_goes_on);
            ask!(a_link_that_carries_one_way_only_stops_nobody);
            ask!(a_node_that_is_added_learns_everything_and_counts);
            ask!(a_dead_member_is_replaced_and_counts_no_more);
        }
    };
}

conformance!(embedded_raft, crate::raft::RaftCluster::new(3));
conformance!(the_model, crate::model::ModelCluster::new(3));

/// Five voters, of which two may be away.
#[test]
fn five_voters_shrink_to_three_one_by_one() {
    crate::suite::five_shrink_to_three(crate::raft::RaftCluster::new(5));
    crate::suite::five_shrink_to_three(crate::model::ModelCluster::new(5));
}
