from coinglass_streams.logs import hide, scrub


def test_secrets_are_scrubbed_from_whatever_is_logged():
    hide("s3cr3t-key")
    assert "s3cr3t" not in scrub("GET wss://host/ws-api?cg-api-key=s3cr3t-key HTTP failed for s3cr3t-key")
    assert scrub("wss://h/?cg-api-key=another&x=1") == "wss://h/?cg-api-key=***&x=1"
