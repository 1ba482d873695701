using LoraNotebooks.Data;
using LoraNotebooks.Training;
using LoraNotebooks.Training.Diffusion;
using Microsoft.CodeAnalysis.CSharp.Scripting;
using Microsoft.CodeAnalysis.Scripting;
using Microsoft.DotNet.Interactive;
using Microsoft.DotNet.Interactive.Events;
using Microsoft.DotNet.Interactive.Formatting;

namespace LoraNotebooks.Interactive.Tests;

/// <summary>Runs the C# of extension.dib: against .NET Interactive's own formatting package, and stand-ins for the packages that are not to be had.</summary>
[Collection(nameof(ProcessHost))]
public sealed class DotNetInteractiveTests : IAsyncLifetime
{
    public async Task InitializeAsync()
    {
        using var reader = new StreamReader(typeof(DotNetInteractiveTests).Assembly.GetManifestResourceStream("extension.dib")!);
        var lines = (await reader.ReadToEndAsync()).Split('\n');
        Assert.Equal("#!csharp", lines[0].TrimEnd());
        Assert.DoesNotContain(lines.Skip(1), line => line.StartsWith("#!", StringComparison.Ordinal));

        // What CSharpKernel gives to every submission.
        var options = ScriptOptions.Default
            .WithReferences(
                typeof(object).Assembly,
                typeof(Enumerable).Assembly,
                typeof(NotebookHost).Assembly,
                typeof(Formatter).Assembly,
                typeof(KernelInvocationContext).Assembly)
            .WithImports("System", "System.Text", "System.Collections", "System.Collections.Generic", "System.Threading.Tasks", "System.Linq");
        var state = await CSharpScript.RunAsync(string.Join('\n', lines.Skip(1)), options);
        Assert.Empty(state.Variables);
    }

    public Task DisposeAsync()
    {
        NotebookHost.UseNoneForProcess();
        Formatter.ResetToDefault();
        return Task.CompletedTask;
    }

    [Fact]
    public async Task Script_LiveDisplay_IsProducedOnceAndUpdatedInTheCellThatMadeIt()
    {
        var (first, second) = (new KernelInvocationContext("1"), new KernelInvocationContext("2"));
        async Task Cell(KernelInvocationContext context, double loss)
        {
            using var running = context.Run();
            var handle = "start".Display();
            for (var i = 0; i < 3; i++)
            {
                await Task.Yield();
                handle.Update(new LossChart([1, loss]));
            }
        }

        await Task.WhenAll(Task.Run(() => Cell(first, 0.5)), Task.Run(() => Cell(second, 0.25)));

        foreach (var context in new[] { first, second })
        {
            var produced = Assert.IsType<DisplayedValueProduced>(context.Published[0]);
            Assert.Equal(4, context.Published.Count);
            Assert.All(context.Published, e => Assert.Equal((produced.ValueId, context.Command), (e.ValueId, e.Command)));
            Assert.All(context.Published.Skip(1), e =>
            {
                Assert.IsType<DisplayedValueUpdated>(e);
                Assert.Equal([MimeTypes.Html, MimeTypes.PlainText], e.FormattedValues.Select(v => v.MimeType));
                Assert.Contains("data:image/png", e.FormattedValues.First().Value);
            });
        }

        Assert.NotEqual(first.Published[0].ValueId, second.Published[0].ValueId);
        Assert.Contains("0.25", second.Published[^1].FormattedValues.Last().Value);
    }

    [Fact]
    public void Script_TrainingMonitor_ReportsToTheCellThatMadeItFromAThreadThatKnowsNoCell()
    {
        var context = new KernelInvocationContext("1");
        using (context.Run())
        {
            Assert.Equal(context.CancellationToken, NotebookHost.Current.Cancellation);
            using var monitor = new TrainingMonitor("mika");
            var training = new Thread(() =>
            {
                Assert.IsType<ConsoleHost>(NotebookHost.Current);
                monitor.Report(Some.Step(1, 2, 1, 1, 0.5));
                monitor.Complete();
            });
            training.UnsafeStart();
            training.Join();
        }

        Assert.Equal(2, context.Published.OfType<DisplayedValueProduced>().Count());
        Assert.NotEmpty(context.Published.OfType<DisplayedValueUpdated>());
    }

    [Fact]
    public void Script_ObjectsOfTheLibrary_AreFormattedByTheirDisplays()
    {
        object[] objects =
        [
            Some.Image(),
            new[] { Some.Image() },
            new List<RgbImage> { Some.Image() },
            Some.Result(),
            TrainingPlan.For(new DiffusionTrainingConfig { Name = "a" }, 20, 200),
            new TagTable([new("a", "b")]),
            new[] { Some.Step(1, 2, 1, 1, 0.5) },
        ];
        foreach (var value in objects)
        {
            Assert.Equal(MimeTypes.Html, Formatter.GetPreferredMimeTypesFor(value.GetType()).First());
            Assert.Equal(DisplayFormatter.Format(value).Text(MimeTypes.Html), value.ToDisplayString(MimeTypes.Html));
            Assert.Equal(DisplayFormatter.Format(value).Text(MimeTypes.PlainText), value.ToDisplayString(MimeTypes.PlainText));
        }
    }

    [Fact]
    public void Script_DisplaysInsideOtherObjects_AreDrawnToo() =>
        Assert.Contains("data:image/png", new { Picture = Some.Image(), Chart = new LossChart([1, 2]) }.ToDisplayString(MimeTypes.Html));
}
