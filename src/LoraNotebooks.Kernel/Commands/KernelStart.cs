using System.CommandLine;
using System.Runtime.InteropServices;
using LoraNotebooks.Kernel.Jupyter;

namespace LoraNotebooks.Kernel.Commands;

/// <summary><c>kernel start</c>: what Jupyter calls to get a kernel.</summary>
internal static class KernelStart
{
    public static Command Create()
    {
        var file = new Argument<string>("connection-file") { Description = "The file with addresses and key that Jupyter made." };
        var command = new Command("start", "Starts a kernel. Jupyter does this by itself; you need `install` or `lab`.") { file };
        command.SetAction((arguments, cancellation) => RunAsync(arguments.GetRequiredValue(file), cancellation));
        return command;
    }

    private static async Task<int> RunAsync(string path, CancellationToken cancellation)
    {
        // Cells have Console.Error for themselves; this one is Jupyter's log.
        var log = Console.Error;
        try
        {
            using var kernel = new JupyterKernel(ConnectionFile.Read(path), message => log.WriteLine($"[lora-notebooks] {message}"));
            using var end = CancellationTokenSource.CreateLinkedTokenSource(cancellation);

            // Ctrl+C in Jupyter's terminal reaches every process there; to the kernel it is an interrupt, the server says when to end.
            using var signal = PosixSignalRegistration.Create(PosixSignal.SIGINT, context =>
            {
                context.Cancel = true;
                kernel.Interrupt();
            });
            _ = ParentProcess.WaitForEndAsync(end.Token).ContinueWith(
                _ => end.Cancel(),
                CancellationToken.None,
                TaskContinuationOptions.OnlyOnRanToCompletion,
                TaskScheduler.Default);
            await kernel.RunAsync(end.Token).ConfigureAwait(false);
            await end.CancelAsync().ConfigureAwait(false);
        }
        catch (Exception error) when (error is IOException or InvalidDataException)
        {
            log.WriteLine(error.Message);
            return 1;
        }

        // Threads that cells left behind would keep the process alive.
        Environment.Exit(0);
        return 0;
    }
}
