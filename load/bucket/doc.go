// Package bucket keeps objects where others read them: in S3 and its compatibles, in Google's and Azure's stores, in a
// directory. It owns how each of them is spoken to, and makes one thing of them:
//
//	Get     an object as it is, with its Tag
//	Put     whole or not at all; if there is none yet (On.Absent), over one state (On.Match), or whatever is there
//	List    what begins with a prefix
//	Delete  whether it is there or not
//
// The guarantee: of any number of writers, in any number of processes, that put one key under a condition, one is told
// that it did, and every other that it did not (ErrTaken) or that nobody can tell (ErrUnsure: the answer was lost). A
// put under a condition is sent once: whoever sent it again would meet its own success and take it for somebody
// else's. What was put is what Body.SHA256 says, or there is an error: the store is given a digest to hold the bytes
// against. A reader sees an object as it was or as it is to be.
//
// The limit: it knows no manifest, no lake and no meaning of a key. Keys come from whoever calls, or from a manifest
// that somebody else wrote, so those that could lead outside of the prefix are refused, in one place (CheckKey).
// Credentials come from where each cloud keeps them, never from a URL; they are in no error. A store without
// conditions can't keep the guarantee: Probe finds that out.
package bucket
