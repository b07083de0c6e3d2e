"""A LlamaIndex retriever: GfmPipeRetriever(k=3).retrieve("Which currency is used in Namibia?")"""

import httpx
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, TextNode


class GfmPipeRetriever(BaseRetriever):
    def __init__(
        self, url="http://127.0.0.1:7878", k=5, paths=3, source=None, token=None, timeout=60, **more
    ):
        super().__init__(**more)
        self._ask = {"k": k, "paths": paths, "source": source}
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._request = {"url": f"{url}/ask", "headers": headers, "timeout": timeout}

    def _retrieve(self, query_bundle):
        ask = {"question": query_bundle.query_str, **self._ask}
        return nodes(httpx.post(json=ask, **self._request))

    async def _aretrieve(self, query_bundle):
        ask = {"question": query_bundle.query_str, **self._ask}
        async with httpx.AsyncClient() as client:
            return nodes(await client.post(json=ask, **self._request))


def nodes(response):
    if response.status_code != 200:
        # The body has the server's message and hint. As a literal it cannot control a terminal.
        raise RuntimeError(f"status {response.status_code}: {response.text!r}")
    return [NodeWithScore(node=node(f), score=f["score"]) for f in response.json()["documents"]]


def node(found):
    metadata = {key: found[key] for key in ["title", "sentence", "source", "paths"]}
    # LlamaIndex puts metadata before the text, for language models and encoders. The text has the
    # sentence, and paths are for programs.
    hidden = ["sentence", "paths"]
    return TextNode(
        id_=str(found["id"]),
        text=found["text"],
        metadata=metadata,
        excluded_llm_metadata_keys=hidden,
        excluded_embed_metadata_keys=hidden,
    )
