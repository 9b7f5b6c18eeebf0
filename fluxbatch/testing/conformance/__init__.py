"""One suite per port: what ``fluxbatch.ports`` promises, as cases that any implementation can run.

Each module has ``CASES``, async functions that take a factory and raise ``AssertionError`` where the implementation
breaks its promise. With pytest::

    @pytest.mark.parametrize("case", sink.CASES, ids=case_name)
    async def test_my_sink(case, tmp_path):
        await case(lambda: my_rig(tmp_path))

What a factory has to give is said by the module's ``Rig`` or ``Factory``.
"""

from fluxbatch.testing.conformance.expect import case_name

__all__ = ["case_name"]
