using LoraNotebooks.Kernel.Doctoring;
using LoraNotebooks.Kernel.Sessions;
using LoraNotebooks.Tensors;

namespace LoraNotebooks.Kernel.Tests.Doctoring;

public sealed class LibTorchRepairTests
{
    private static readonly RestoredPackages Restored = new([], [], [Path.Combine("packages", "native", "libtorch.so")]);

    [Fact]
    public async Task RunAsync_LibTorchIsThere_FetchesNothing()
    {
        Assert.Null(await LibTorchRepair.RunAsync(() => false, _ => throw new InvalidOperationException("fetched")));
        Assert.Null(await LibTorchRepair.RunAsync(CancellationToken.None));
    }

    [Fact]
    public async Task RunAsync_LibTorchIsMissing_FetchesThisSystemsPackage()
    {
        var isMissing = true;
        PackageRequest? asked = null;
        var check = await LibTorchRepair.RunAsync(() => isMissing, package =>
        {
            (asked, isMissing) = (package, false);
            return Task.FromResult(Restored);
        });
        Assert.Equal(new PackageRequest(NativeRuntime.LibTorchPackage, "2.10.0"), asked);
        Assert.StartsWith("libtorch-cpu-", asked!.Id);
        Assert.Equal(Health.Ok, check!.Health);
    }

    [Fact]
    public async Task RunAsync_NuGetKeepsItElsewhere_NamesTheFolder()
    {
        var check = await LibTorchRepair.RunAsync(() => true, _ => Task.FromResult(Restored));
        Assert.Equal(Health.Fail, check!.Health);
        Assert.Contains($"{NativeRuntime.FolderVariable} to {Path.Combine("packages", "native")}", check.Advice);
    }

    [Fact]
    public async Task RunAsync_NuGetRefuses_SaysItsWordsAndWhatToDo()
    {
        var check = await LibTorchRepair.RunAsync(() => true, _ => throw new PackageRestoreException("no source"));
        Assert.Equal(Health.Fail, check!.Health);
        Assert.Equal("no source", check.Found);
        Assert.NotEmpty(check.Advice);
    }
}
