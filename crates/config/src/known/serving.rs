//! The listener, the admin API and the dashboard.

use super::{Known, feature, moot};

pub(super) const ALL: &[Known] = &[
    feature("server.swagger_enabled", &["SWAGGER_ENABLED"], &["false"]),
    feature("server.pprof_enabled", &["PPROF_ENABLED"], &["false"]),
    feature("server.pid_file", &["PID_FILE"], &["data/gomodel.pid"]),
    feature("server.realtime_enabled", &["REALTIME_ENABLED"], &["true", "false"]),
    feature("server.client_ip_header", &["SERVER_CLIENT_IP_HEADER"], &["X-Forwarded-For"]),
    feature("server.trusted_hops", &["SERVER_TRUSTED_HOPS"], &["0"]),
    feature("server.demo_mode", &["GOMODEL_DEMO_MODE"], &["false"]),
    feature("server.auth_verify_enabled", &["AUTH_VERIFY_ENABLED"], &["false"]),
    // Messages are always served here.
    moot("server.enable_anthropic_ingress", &["ENABLE_ANTHROPIC_INGRESS"]),
    moot("server.disable_request_logging", &["DISABLE_REQUEST_LOGGING"]),
    moot("server.disable_request_body_snapshot", &["DISABLE_REQUEST_BODY_SNAPSHOT"]),
    moot("server.disable_passthrough_semantic_enrichment", &["DISABLE_PASSTHROUGH_SEMANTIC_ENRICHMENT"]),
    moot("server.minimal_bench_mode", &["AURORA_MINIMAL_BENCH_MODE"]),
    feature("admin.endpoints_enabled", &["ADMIN_ENDPOINTS_ENABLED"], &["true", "false"]),
    feature("admin.ui_enabled", &["ADMIN_UI_ENABLED"], &["true", "false"]),
    feature("admin.live_logs_enabled", &["DASHBOARD_LIVE_LOGS_ENABLED"], &["true", "false"]),
    feature("admin.live_logs_buffer_size", &["DASHBOARD_LIVE_LOGS_BUFFER_SIZE"], &["10000"]),
    feature("admin.live_logs_replay_limit", &["DASHBOARD_LIVE_LOGS_REPLAY_LIMIT"], &["1000"]),
    feature("admin.live_logs_heartbeat_seconds", &["DASHBOARD_LIVE_LOGS_HEARTBEAT_SECONDS"], &["15"]),
    feature("mcp.enabled", &["MCP_ENABLED"], &["true", "false"]),
    feature("mcp.servers", &["MCP_SERVERS"], &[]),
    feature("mcp.virtual_servers", &["MCP_VIRTUAL_SERVERS"], &[]),
    feature("mcp.allowed_origins", &["MCP_ALLOWED_ORIGINS"], &[]),
    feature("mcp.tool_discovery", &["MCP_TOOL_DISCOVERY"], &["off"]),
    feature("cli_tools", &["CLI_TOOLS_*"], &["false"]),
    feature("extensions", &[], &[]),
    feature("", &["GOMODEL_PRO_LICENSE"], &[]),
    // Nothing here ever asks a server of ours for anything.
    moot("version_check", &["GOMODEL_VERSION_CHECK_*", "GOMODEL_OFFLINE"]),
    moot("edition", &[]),
];
