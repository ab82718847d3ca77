// Package cluster runs real `theriac serve` processes, one a region, with every link between them under
// its control, and disturbs them: it offers the abilities that package nemesis asks for, and a
// *client.DB for each region. It plans nothing and judges nothing.
//
//	c, err := cluster.Start(ctx, cluster.Options{Binary: path, Dir: dir, Regions: []string{"eu", "us", "ap"}})
//	defer c.Close()
//	err = nemesis.Run(ctx, schedule, c, nil)
//
// # Links
//
// A user without rights gets proxies on loopback (package proxy): each region has a loopback address of its
// own, which its node listens on and dials from, and advertises fronts of the proxy in place of its ports.
// So serve runs as a user would run it behind a port forwarding. Clients go to the node itself.
//
// With Options.Namespaces, as root on Linux, each region is in a network namespace of its own, and
// nftables drops what must not arrive. There packets are lost, TCP's own too, so a link that is cut one way
// soon carries nothing the other way either but datagrams; and a slow link is one of little
// throughput that loses some packets, since nftables can't delay.
//
// # Processes
//
// A node is a process in a group of its own, so that an interrupt at the terminal reaches it only
// through Close. On Linux the kernel kills it when this process ends, whatever way that is. What a
// node says goes to REGION/log in the folder, its data to REGION/disk/data; both stay.
//
// # Invariants
//
//  1. After Start has failed, and after Close, no process, socket, mount or namespace of the cluster is left.
//  2. A node that ends by itself is a failure (Failed), but for one whose disk is full, or was until a moment ago.
//  3. A region's addresses and its DB stay the same over all of its restarts.
//  4. What is disturbed stays so over a restart: links, clock and disk.
//  5. An effect is counted where it was seen, never because it was asked for: by the proxies and nftables, by
//     how a process ended or stands, by a node's own clock, log and answers.
package cluster
