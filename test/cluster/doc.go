// Package cluster gives a test a real Kubernetes of its own. The binaries are built once by
// test/cluster/build, into the cache folder.
//
// [Control] starts etcd and an API server on loopback, with TLS, RBAC and service-account keys,
// in a few seconds and without root. What only a mock could play otherwise can be done for
// real: the API server is paused, killed and started again, and so is etcd, see [Process]. It
// costs about 300 MB of memory and a folder in the system's temporary one, and both are gone
// after [Cluster.Close].
//
// [Node] adds a node on which pods run: containerd, kubelet, kube-proxy and CoreDNS. It needs
// root and Linux with control groups of version 1. The node's processes have namespaces and
// control groups of their own, joined to the machine by one pair of network interfaces, so
// that kubelet's settings, mounts, rules and routes never touch the machine; all end with one
// process. The host reaches pods and services by their addresses, and pods reach the host by
// [Cluster.HostIP], and nothing beyond it. Images come from files of the machine, see [Image];
// [AppImage] is a program that serves and asks for the test.
//
// The package knows no Kubernetes client: callers bring theirs and give it [Cluster.Kubeconfig].
// Several clusters can run at the same time.
//
// Nothing here is made for serving anybody: etcd does not sync its files, and the admin's token
// lies in a file that only the user can read.
package cluster
