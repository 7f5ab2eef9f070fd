// Server-sent events from a response's body. EventSource could not send a token.

/** Yields { event, data } of each event, data parsed; comments come as { event: null }. */
export async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) yield parse(block);
    }
  } finally {
    reader.cancel().catch(() => {}); // it may be broken already, which is why we are here
  }
}

function parse(block) {
  let event = null;
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) event = line.slice(6).trim();
    if (line.startsWith("data:")) data.push(line.slice(5));
  }
  return { event, data: data.length === 0 ? null : JSON.parse(data.join("\n")) };
}
