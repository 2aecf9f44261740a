// The `ws` package as a relay: what one says, all others are told.
import { WebSocketServer } from "ws";

const server = new WebSocketServer({ host: "127.0.0.1", port: Number(process.argv[2]), perMessageDeflate: false });
server.on("connection", (speaker) => {
  speaker.on("message", (message) => {
    for (const one of server.clients) if (one !== speaker) one.send(message, { binary: false });
  });
});
