// Plays a recording with Node's ws: client.mjs URL START BINARY COUNT. Prints what came as one line of JSON.
import WebSocket from "ws";

const [url, start, binary, count] = process.argv.slice(2);
const seen = { frames: [], binary: false, pong: false, extensions: "", code: 0 };
const socket = new WebSocket(url);

socket.on("open", () => {
  seen.extensions = socket.extensions;
  socket.ping();
});
socket.on("pong", () => {
  seen.pong = true;
  leaveWhenDone();
});
socket.on("message", (data, isBinary) => {
  seen.binary ||= isBinary;
  seen.frames.push(data.toString());
  if (seen.frames.length === 1) {
    socket.send(binary === "true" ? Buffer.from(start) : start);
  }
  leaveWhenDone();
});
socket.on("close", (code) => {
  seen.code = code;
  console.log(JSON.stringify(seen));
});

function leaveWhenDone() {
  if (seen.frames.length >= Number(count) && seen.pong) {
    socket.close(1000);
  }
}
