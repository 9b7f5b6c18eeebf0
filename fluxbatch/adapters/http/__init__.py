"""The APIs and delivery hosts, over aiohttp."""

from fluxbatch.adapters.http.connect import Network
from fluxbatch.adapters.http.fetcher import HttpFetcher
from fluxbatch.adapters.http.provider import GatewayProvider

__all__ = ["GatewayProvider", "HttpFetcher", "Network"]
