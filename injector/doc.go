// Package injector puts the shield into pods: the sidecar, the rules that hand traffic to it,
// and the agent's answers to the pod's probes.
//
// [Inject] is a pure function from a pod to a pod; [Patch] says what changed, as a JSON patch;
// [Update] judges changes of pods that have a shield; [InjectYAML] does the same for files.
// Package injector/admission serves them to an API server.
//
// # What a pod gets
//
//   - The init container pavise-redirect, before all others: user 0 with NET_ADMIN and nothing
//     else. From then on the pod's traffic goes to Envoy or nowhere.
//   - The container pavise-sidecar, as uid and gid 1337, which the rules exempt. Where the
//     cluster has native sidecars it is an init container that goes on, and its startup probe
//     keeps everything after it from starting before policies are in force. Elsewhere it is
//     the first container, and a postStart hook does the same.
//   - Probes by HTTP, TCP and gRPC ask the agent, which asks the application: see proxy/probe.
//     Probes that run a command stay. So do probes with a host of their own, which the kubelet
//     sends elsewhere, and lifecycle hooks, which policies judge like any request.
//   - A label with the revision, and an annotation that says what was done.
//
// In a classic pod, the pod's own init containers run before there is an Envoy, behind rules
// that are in force already: what they connect to refuses. That is closed rather than open on
// purpose. A classic sidecar does not end with the others, so pods that are to end (Jobs) are
// refused where there are no native sidecars.
//
// # Who may go without
//
// A pod is injected, or skipped for a reason that has a name, or refused. Whoever may make pods
// must not be able to shed the shield by that alone, so opting out, and bringing the sidecar of
// another mesh, take the word of the namespace (its labels) unless Config.OptOut says
// otherwise. Pods in the host's network have no network namespace to put rules in, and are
// skipped by name: Pod Security "baseline" is what forbids them, or Config.HostNetwork.
//
// Refused is also what could undo the shield: the sidecar's user, capabilities such as
// NET_ADMIN, privileged containers, a shared process namespace, the sidecar's ports, names and
// volumes. The namespace's label [PrivilegedLabel] allows what is about privilege, not the user.
//
// # Run again
//
// What the injector made is recognised by its annotation, taken out, and made anew from what is
// left: nothing that somebody put into our containers survives, such as the token of the API
// server that the platform mounts everywhere, and a second run of the same input changes
// nothing. Containers that other webhooks added meanwhile have their probes rewritten too.
package injector
