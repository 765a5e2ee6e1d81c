import { z } from "zod";

/** Longest PKCS #10 request, as base64: ours have some 300 bytes. */
const requestLengthMax = 4096;

const base64 = z.base64().max(requestLengthMax);

/** What is asked over the enrolment protocol, version 1; one JSON text. */
export const enrolRequestSchema = z.discriminatedUnion("ask", [
  z.strictObject({
    ask: z.literal("join"),
    invitation: z.string().regex(/^[0-9a-f]{16}$/),
    secret: z.string().regex(/^[0-9a-f]{64}$/),
    /** The replicator's id, drawn by itself and kept for ever. */
    id: z.string().regex(/^[0-9a-f]{16}$/),
    /** PKCS #10, DER: proves that the asker holds the key. */
    request: base64,
  }),
  /** Sent over mutual TLS, with the certificate that is to be renewed. */
  z.strictObject({ ask: z.literal("renew"), request: base64 }),
]);

/** What is asked. */
export type EnrolRequest = z.output<typeof enrolRequestSchema>;

/** What is answered. A later version may say more. */
export const enrolAnswerSchema = z.object({
  vaultId: z.string().regex(/^[0-9a-f]{16}$/),
  name: z.string(),
  /** The replicator's certificate, the authority's behind it. */
  certificatePem: z.string(),
  authorityPem: z.string(),
});

/** What is answered. */
export type EnrolAnswer = z.output<typeof enrolAnswerSchema>;
