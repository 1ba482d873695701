using LoraNotebooks.Adapters;
using LoraNotebooks.Adapters.Tools;
using LoraNotebooks.Formats;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Adapters;

/// <summary>What is missing is named at the door, before anything is read, changed or written.</summary>
public sealed class ArgumentTests
{
    private static readonly Dictionary<string, (string Parameter, Action Call)> Calls = new()
    {
        ["a LoRA's path"] = ("path", static () => LoraFile.Read(null!)),
        ["a LoRA's path for a model"] = ("path", static () => LoraFile.Read(null!, [])),
        ["the networks of a model"] = ("parts", static () => LoraFile.Read("none", null!)),
        ["what to write as kohya's"] = ("parts", static () => KohyaFile.Write("none", null!)),
        ["what to write as diffusers'"] = ("parts", static () => DiffusersLoraFile.Write("none", null!)),
        ["what to write as PEFT's"] = ("state", static () => PeftFolder.Write("none", null!)),
        ["settings in PEFT's words"] = ("json", static () => LoraConfig.FromPeftJson(null!)),
        ["weights that tell settings"] = ("state", static () => LoraConfig.FromState(null!)),
        ["where to convert to"] = ("destination", static () => LoraConversion.Convert("none", null!, new LoraWriting())),
        ["how to convert"] = ("writing", static () => LoraConversion.Convert("none", "none", null!)),
        ["the ranks of an extraction"] = ("choice", static () => LoraExtraction.Extract("none", "none", "none", null!)),
        ["the ranks of a resizing"] = ("choice", static () => LoraResizing.Resize("none", "none", null!)),
        ["the sources of a merge"] = ("sources", static () => LoraMerging.Merge(null!, "none")),
        ["what to inspect"] = ("path", static () => LoraInspection.Of(null!)),
        ["a model"] = ("baseModel", static () => new AdaptedModel(null!)),
        ["an adapter's settings"] = ("config", static () => With(static (adapted, generator) => adapted.Add("b", null!, generator))),
        ["an adapter's generator"] = (
            "generator",
            static () => With(static (adapted, _) => adapted.Add("b", new LoraConfig { TargetModules = ["line"] }, null!))),
        ["an adapter's weights"] = ("state", static () => With(static (adapted, _) => adapted.Add("b", null!))),
        ["weights to load"] = ("state", static () => With(static (adapted, _) => adapted.LoadState("a", null!))),
        ["a forward"] = ("forward", static () => With(static (adapted, _) => adapted.Probe(null!))),
        ["a name"] = ("name", static () => With(static (adapted, generator) => adapted.Add(null!, new LoraConfig { TargetModules = ["line"] }, generator))),
    };

    public static TheoryData<string> Missing => [.. Calls.Keys];

    [Theory]
    [MemberData(nameof(Missing))]
    public void Call_WithoutAnArgument_NamesIt(string what) =>
        Assert.Equal(Calls[what].Parameter, Assert.Throws<ArgumentNullException>(Calls[what].Call).ParamName);

    private static void With(Action<AdaptedModel, Generator> act)
    {
        using var scope = NewDisposeScope();
        using var model = nn.Sequential(("line", nn.Linear(1, 1)));
        using var adapted = new AdaptedModel(model);
        using var generator = new Generator(1);
        adapted.Add("a", new LoraConfig { TargetModules = ["line"] }, generator);
        act(adapted, generator);
    }
}
