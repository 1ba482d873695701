using LoraNotebooks.Adapters;
using LoraNotebooks.Tests.Models.Language;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Adapters;

/// <summary>Adapters on what only language models have: heads, transposed layers, padding's row, tables that files bring along.</summary>
public sealed class LanguageModelAdapterTests
{
    [Theory]
    [InlineData("llama", 14)]
    [InlineData("qwen2", 14)]
    [InlineData("gpt2", 8)]
    public void AllLinear_OnALanguageModel_LeavesOutTheHead(string name, int layers)
    {
        using var model = TinyLanguageModels.Create(name);
        using var adapted = Adapt(model, new LoraConfig { Rank = 2, TargetModules = ModuleSelection.AllLinear });
        Assert.Equal(layers, adapted.GetLayers("a").Count);
        Assert.DoesNotContain(adapted.GetLayers("a"), static layer => layer.Path == "lm_head");
        Assert.Equal(name == "gpt2", adapted.GetConfig("a").FanInFanOut);
        Assert.Equal(name == "gpt2", adapted.GetConfig("a").ToPeftJson()["fan_in_fan_out"]!.GetValue<bool>());
        adapted.Probe(() => model.call(TinyLanguageModels.Ids));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Merge_TransposedLayers_EqualsTheirOutputsAndComesBackBitForBit(bool dora)
    {
        using var scope = NewDisposeScope();
        using var model = TinyLanguageModels.Create("gpt2");
        using var noGradient = no_grad();
        var before = model.call(TinyLanguageModels.Ids);
        using var adapted = Adapt(model, new LoraConfig { Rank = 2, TargetModules = ModuleSelection.AllLinear, UseDora = dora });
        Disturb(adapted);
        var unmerged = model.call(TinyLanguageModels.Ids);
        adapted.Merge();
        Assert.InRange(Fixtures.MaxDifference(unmerged, model.call(TinyLanguageModels.Ids)), 0, 1e-4);
        Assert.True(Fixtures.MaxDifference(unmerged, before) > 1e-2);
        adapted.Unmerge();
        adapted.Enabled = false;
        Assert.Equal(0, Fixtures.MaxDifference(before, model.call(TinyLanguageModels.Ids)));
    }

    [Theory]
    [InlineData("Loha")]
    [InlineData("Lokr")]
    public void Add_OtherMethodOnTransposedLayers_IsRefusedByName(string name)
    {
        var method = AdapterMethod.Named(name);
        using var model = TinyLanguageModels.Create("gpt2");
        var message = Assert.Throws<ArgumentException>(() => Adapt(model, new LoraConfig { Method = method, TargetModules = ["c_attn"] })).Message;
        Assert.Contains("'transformer.h.0.attn.c_attn' keeps its weight transposed", message);
    }

    /// <summary>Where the vocabulary was changed, the file's table counts, not the base's.</summary>
    [Fact]
    public void Add_FileWithATable_PutsItInPlaceOfTheBases()
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        using var model = TinyLanguageModels.Create("llama");
        var before = model.call(TinyLanguageModels.Ids);
        var table = model.get_parameter("model.embed_tokens.weight")!;
        using var source = Adapt(model, new LoraConfig { Rank = 2, TargetModules = ["embed_tokens"] });
        using var plain = source.ToState("a");
        var tensors = plain.Tensors.ToDictionary();
        tensors["model.embed_tokens.base_layer.weight"] = table + 0.5;
        using var state = new LoraNotebooks.Formats.LoraState(tensors, plain.Alphas, plain.Config);
        source.Add("b", state);
        var carried = model.call(TinyLanguageModels.Ids);
        source.Merge("b");
        var merged = model.call(TinyLanguageModels.Ids);
        source.Unmerge();
        source.Remove("b");
        table.add_(0.5);
        Assert.InRange(Fixtures.MaxDifference(model.call(TinyLanguageModels.Ids), carried), 0, 1e-5);
        Assert.InRange(Fixtures.MaxDifference(model.call(TinyLanguageModels.Ids), merged), 0, 1e-5);
        Assert.True(Fixtures.MaxDifference(before, carried) > 1e-2);
    }

    [Fact]
    public void Backward_PaddingsRow_TakesNoGradient()
    {
        using var scope = NewDisposeScope();
        using var model = TinyLanguageModels.Create(TinyLanguageModels.Llama with { PadTokenId = -16 }); // Counted from the end: 4.
        using var adapted = Adapt(model, new LoraConfig { Rank = 2, TargetModules = ["embed_tokens"] });
        Disturb(adapted);
        model.call(TinyLanguageModels.Ids).square().mean().backward();
        var gradients = adapted.NamedParameters("a")
            .Single(static p => p.Name.EndsWith("lora_embedding_A", StringComparison.Ordinal)).Parameter.grad!.abs().amax([0]);
        Assert.Equal(0, gradients[4].item<float>());
        Assert.NotEqual(0, gradients[3].item<float>());
    }

    [Fact]
    public void Train_ManySteps_KeepsTensorCountFlatAndTheBaseAsItWas()
    {
        using var scope = NewDisposeScope();
        using var model = TinyLanguageModels.Create("gpt2");
        using var ids = TinyLanguageModels.Ids;
        var before = model.state_dict().ToDictionary(static pair => pair.Key, static pair => pair.Value.detach().clone());
        using var adapted = Adapt(model, new LoraConfig { Rank = 2, TargetModules = ModuleSelection.AllLinear });
        using var optimizer = optim.AdamW(adapted.TrainableParameters("a"), lr: 1e-2);
        var first = Step();
        Step();
        var live = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        var last = first;
        for (var i = 0; i < 10; i++)
        {
            last = Step();
        }

        Assert.Equal(live, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
        Assert.True(last < first, $"The loss went from {first} to {last}.");
        Assert.All(before, pair => Assert.Equal(0, Fixtures.MaxDifference(pair.Value, model.get_parameter(pair.Key)!)));

        float Step()
        {
            using var step = NewDisposeScope();
            optimizer.zero_grad();
            var loss = LoraNotebooks.Models.Language.CausalLanguageModel.Loss(model.call(ids), ids);
            loss.backward();
            optimizer.step();
            return loss.item<float>();
        }
    }

    private static AdaptedModel Adapt(nn.Module model, LoraConfig config)
    {
        var adapted = new AdaptedModel(model);
        using var generator = new Generator(2);
        try
        {
            adapted.Add("a", config, generator);
            return adapted;
        }
        catch
        {
            adapted.Dispose();
            throw;
        }
    }

    private static void Disturb(AdaptedModel adapted)
    {
        using var generator = new Generator(3);
        using var noGradient = no_grad();
        foreach (var (_, parameter) in adapted.NamedParameters("a"))
        {
            using var scope = NewDisposeScope();
            parameter.add_(randn(parameter.shape, generator: generator) * 0.2);
        }
    }
}
