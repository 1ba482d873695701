using LoraNotebooks.Kernel.Sessions;
using LoraNotebooks.Tensors;

namespace LoraNotebooks.Kernel.Doctoring;

/// <summary>Fetches libtorch on a machine that never built the solution: the tool's package does not bring its half gigabyte.</summary>
internal static class LibTorchRepair
{
    private const string Name = "Repair";

    /// <summary>Restores the package with libtorch into NuGet's folder, if libtorch is missing.</summary>
    /// <returns>What was done; null if there was nothing to do.</returns>
    public static Task<Check?> RunAsync(CancellationToken cancellation) => RunAsync(
        IsMissing,
        package => PackageRestorer.RestoreAsync([package], Environment.CurrentDirectory, [], cancellation));

    /// <summary>See above, with the look and the restore in the caller's hands.</summary>
    internal static async Task<Check?> RunAsync(Func<bool> isMissing, Func<PackageRequest, Task<RestoredPackages>> restore)
    {
        if (!isMissing())
        {
            return null;
        }

        var package = new PackageRequest(NativeRuntime.LibTorchPackage, NativeRuntime.LibTorchVersion);
        RestoredPackages restored;
        try
        {
            restored = await restore(package).ConfigureAwait(false);
        }
        catch (PackageRestoreException error)
        {
            return new Check(
                Name,
                Health.Fail,
                error.Message,
                "Put the machine on the network, or name a nuget.config with your package source in the current folder, and try again.");
        }

        if (!isMissing())
        {
            return new Check(Name, Health.Ok, $"fetched {package.Id} {package.Version}");
        }

        var folder = restored.NativeFiles.Select(Path.GetDirectoryName).FirstOrDefault();
        return new Check(
            Name,
            Health.Fail,
            $"fetched {package.Id} {package.Version}, but NuGet keeps it in a folder of its own",
            $"Set the variable {NativeRuntime.FolderVariable} to {folder}.");
    }

    private static bool IsMissing()
    {
        try
        {
            NativeRuntime.Load();
            return false;
        }
        catch (DllNotFoundException)
        {
            return true;
        }
    }
}
