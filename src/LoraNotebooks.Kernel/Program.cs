using System.CommandLine;
using LoraNotebooks.Kernel.Commands;
using LoraNotebooks.Kernel.Running;
using LoraNotebooks.Tensors;

// Notebooks run in a child; this process finishes their results if it crashes.
if (args is ["run", ..] && !RunSupervisor.TakeRole())
{
    return await RunSupervisor.RunAsync(args);
}

// Before cells get threads of their own.
NativeRuntime.Prepare();

// After Ctrl+C a cell has a few seconds to end by itself, and the results are written.
var exit = await CommandLine.Create().Parse(args).InvokeAsync(new InvocationConfiguration { ProcessTerminationTimeout = TimeSpan.FromSeconds(30) });

// Threads that cells left behind would keep the process alive.
Environment.Exit(exit);
return exit;
