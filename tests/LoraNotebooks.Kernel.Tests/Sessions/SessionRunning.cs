using System.Text;
using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Tests.Sessions;

/// <summary>Runs cells one after another in a session and a folder of the test's own.</summary>
public abstract class SessionRunning : IDisposable
{
    private int _cells;

    private protected SessionRunning() => Session = new CSharpSession(new CSharpSessionOptions
    {
        BaseFolder = Folder.Path,
        StandardOutput = text => Out.Append(text),
        StandardError = text => Error.Append(text),
        Report = text => Reports.Add(text),
        StopGrace = TimeSpan.FromSeconds(20),
    });

    private protected TemporaryFolder Folder { get; } = new();

    private protected StringBuilder Out { get; } = new();

    private protected StringBuilder Error { get; } = new();

    private protected List<string> Reports { get; } = [];

    private protected CSharpSession Session { get; }

    public void Dispose()
    {
        Session.Dispose();
        Folder.Dispose();
        GC.SuppressFinalize(this);
    }

    private protected Task<CellResult> RunAsync(string code, TimeSpan? limit = null, CancellationToken cancellation = default) =>
        Session.RunAsync(code, $"cell {++_cells}", limit, cancellation);

    private protected async Task<object?> ValueAsync(string code)
    {
        var result = await RunAsync(code);
        Assert.True(result.Error is null, string.Join('\n', result.Error?.Traceback ?? []));
        return result.Value;
    }
}
