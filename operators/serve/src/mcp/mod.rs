//! The Model Context Protocol: the retriever as tools of a language model.

mod text;
mod tools;

use std::sync::Arc;

use gfm_pipe_api::answer::Answers;
use gfm_pipe_api::{OpError, OpResult};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, Implementation, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::transport::stdio;
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::current::Current;

/// Bytes of a message; longer ones are dropped.
const LONGEST_MESSAGE: usize = 1 << 20;

/// Serves the tools over standard input and output until the input ends. Nothing else may write to
/// the standard output meanwhile.
pub async fn mcp_stdio(answers: Arc<dyn Answers>) -> OpResult<()> {
    let (input, output) = stdio();
    mcp(Current::new(answers), input, output).await
}

/// Serves the tools over any pair of streams, one JSON-RPC message a line, until the input ends.
/// Fails if the client does not begin as the protocol says.
pub async fn mcp<R, W>(current: Current, input: R, output: W) -> OpResult<()>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let transport = AsyncRwTransport::new(input, output).with_max_line_length(LONGEST_MESSAGE);
    let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
        OpError::wrap("failed to speak the Model Context Protocol", e)
            .hint("start this from a program that speaks it, such as an editor or an assistant")
    };
    let running = Tools(current)
        .serve(transport)
        .await
        .map_err(|e| failed(e.into()))?;
    running.waiting().await.map_err(|e| failed(e.into()))?;
    Ok(())
}

/// The tools of a retriever.
struct Tools(Current);

impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        let name = Implementation::new("gfm-pipe", env!("CARGO_PKG_VERSION"));
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(name)
            .with_instructions(
                "Answers questions about a corpus with documents, and with the paths in a graph of \
                 facts that lead to them. Begin with the tool ask.",
            )
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let model = self.0.get().about().model;
        Ok(ListToolsResult::with_all_items(tools::all(
            model.as_deref(),
        )))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        tools::call(&self.0, &request.name, arguments).await
    }
}
