// The same as bare.py, with Node's ws: node server.mjs PORT FOLDER
//
// The text is a Buffer that is sent as a text frame, so that nothing is encoded again. Who reads more slowly than we
// send is waited for: ws keeps in memory whatever the socket doesn't take.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import process from "node:process";
import { WebSocketServer } from "ws";

const YIELD_EVERY = 16;
const HIGH_WATER_BYTES = 64 * 1024; // asyncio's, as uvicorn has it
const TEXT = { binary: false };
const [port, folder] = process.argv.slice(2);

const texts = new Map();
function ready(name) {
    if (!texts.has(name)) {
        texts.set(name, readFileSync(join(folder, `${Number(name)}.txt`)));
    }
    return texts.get(name);
}

function sendAll(socket, text, rows) {
    let left = rows;
    const more = () => {
        for (let turn = Math.min(YIELD_EVERY, left); turn > 0 && socket.readyState === socket.OPEN; turn--) {
            left--;
            if (left > 0 && socket.bufferedAmount > HIGH_WATER_BYTES) {
                socket.send(text, TEXT, more); // called when the socket has taken it
                return;
            }
            socket.send(text, TEXT);
        }
        if (left > 0 && socket.readyState === socket.OPEN) {
            setImmediate(more);
        }
    };
    more();
}

function sendPaced(socket, text, rows, pauseMs) {
    const began = performance.now();
    const next = (number) => {
        if (number < rows && socket.readyState === socket.OPEN) {
            socket.send(text, TEXT);
            setTimeout(next, Math.max(0, began + (number + 1) * pauseMs - performance.now()), number + 1);
        }
    };
    next(0);
}

const http = createServer((request, response) => response.writeHead(404).end());
const server = new WebSocketServer({ server: http, perMessageDeflate: false, maxPayload: 64 * 1024 });
server.on("connection", (socket, request) => {
    const options = new URL(request.url, "http://127.0.0.1").searchParams;
    const text = ready(options.get("text"));
    const rows = Number(options.get("rows"));
    const pause = Number(options.get("pause") ?? 0);
    socket.on("error", () => socket.terminate());
    socket.on("message", (message) => {
        if (JSON.parse(message.toString()).type === "shared") {
            pause ? sendPaced(socket, text, rows, pause * 1000) : sendAll(socket, text, rows);
        }
    });
    socket.send('{"status": "connect", "success": true}');
});
http.listen({ port: Number(port), host: "127.0.0.1", backlog: 4096 });
