"""A LangChain retriever: GfmPipeRetriever(k=3).invoke("Which currency is used in Namibia?")"""

import httpx
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import SecretStr


class GfmPipeRetriever(BaseRetriever):
    url: str = "http://127.0.0.1:7878"
    k: int = 5
    paths: int = 3
    source: str | None = None  # only documents whose file matches this pattern
    token: SecretStr | None = None  # a secret, because tracing prints a retriever's fields
    timeout: float = 60

    def _get_relevant_documents(self, query, *, run_manager):
        return documents(httpx.post(**self._request(query)))

    async def _aget_relevant_documents(self, query, *, run_manager):
        async with httpx.AsyncClient() as client:
            return documents(await client.post(**self._request(query)))

    def _request(self, query):
        token = self.token and self.token.get_secret_value()
        ask = {"question": query, "k": self.k, "paths": self.paths, "source": self.source}
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return {"url": f"{self.url}/ask", "json": ask, "headers": headers, "timeout": self.timeout}


def documents(response):
    if response.status_code != 200:
        # The body has the server's message and hint. As a literal it cannot control a terminal.
        raise RuntimeError(f"status {response.status_code}: {response.text!r}")
    keys = ["title", "score", "sentence", "source", "paths"]
    return [
        Document(found["text"], id=str(found["id"]), metadata={key: found[key] for key in keys})
        for found in response.json()["documents"]
    ]
