using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Language;
using LoraNotebooks.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Diffusion;

/// <summary>What a pipeline does between its parts: what it counts, keeps, frees, and when it gives up.</summary>
public sealed class PipelineStepTests : IDisposable
{
    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly TemporaryFolder _folder = new();
    private readonly StableDiffusionPipeline _pipeline = TinyPipeline.Create();

    public void Dispose()
    {
        _pipeline.Dispose();
        _folder.Dispose();
        _scope.Dispose();
    }

    [Fact]
    public void Denoise_EveryStep_IsCountedAndLeavesOneTensor()
    {
        var (prompt, noise) = (_pipeline.EncodePrompts(["hair"]), randn(1, 3, 8, 8, generator: new Generator(1)));
        using var sampler = Sampler.Create(_pipeline.Scheduler, 4, SamplerKind.Euler);
        var (told, alive) = (new List<int>(), new List<long>());

        var latents = _pipeline.Denoise(noise, prompt, null, sampler, 1, stepDone: step =>
        {
            told.Add(step);
            alive.Add(DisposeScopeManager.Statistics.ThreadTotalLiveCount);
        });

        Assert.Equal([1, 2, 3, 4], told);
        Assert.Single(alive.Distinct());
        Assert.Equal((ScalarType.Float32, false), (latents.dtype, latents.requires_grad));
    }

    /// <summary>The network may compute in 16 bits; latents and pixels stay float32.</summary>
    [Fact]
    public void Generate_InSixteenBits_KeepsLatentsInThirtyTwo()
    {
        _pipeline.UNet.to(ScalarType.BFloat16);
        _pipeline.Vae.to(ScalarType.BFloat16);
        var seen = new List<(ScalarType, ScalarType, long)>();
        _pipeline.UNet.register_forward_hook((_, sample, timesteps, context, output) =>
        {
            seen.Add((sample.dtype, context.HiddenStates.dtype, timesteps.numel()));
            return output;
        });
        using var sampler = Sampler.Create(_pipeline.Scheduler, 1);
        var prompt = _pipeline.EncodePrompts(["hair"]);
        var latents = _pipeline.Denoise(ones(2, 3, 8, 8), prompt, prompt, sampler, 2);
        Assert.Equal(ScalarType.Float32, latents.dtype);
        Assert.Equal(ScalarType.Float32, _pipeline.Decode(latents).dtype);
        Assert.Equal([(ScalarType.BFloat16, ScalarType.BFloat16, 4L)], seen);
    }

    [Theory]
    [InlineData(1.0, 1)]
    [InlineData(2.0, 2)]
    public void Generate_Guidance_DecidesHowManyTextsAreEncoded(double guidance, int texts)
    {
        var count = 0;
        var layer = (nn.Module<Tensor, Tensor>)_pipeline.TextEncoder.named_modules().First(static module => module.name.EndsWith("fc1", StringComparison.Ordinal)).module;
        layer.register_forward_hook((_, _, output) =>
        {
            count++;
            return output;
        });
        _pipeline.Generate(new() { Prompt = "hair", Steps = 1, Guidance = guidance, NegativePrompt = "blue" });
        Assert.Equal(texts, count);
    }

    [Fact]
    public void Generate_GuidanceOfOne_TellsOfTheNegativePromptOnlyThatItHasNoEffect()
    {
        var many = string.Join(", ", Enumerable.Repeat("long hair", 8));
        var told = Heard.During(() => _pipeline.Generate(new() { Prompt = "hair", Steps = 1, Guidance = 1, NegativePrompt = many }));
        Assert.Contains("has no effect: guidance is 1", told);
        Assert.DoesNotContain("longer than", told);
        Assert.Equal("", Heard.During(() => _pipeline.Generate(new() { Prompt = "hair", Steps = 1, Guidance = 2, NegativePrompt = "blue" })));
    }

    [Theory]
    [InlineData(1, "step 1 of 3")]
    [InlineData(3, "step 3 of 3")]
    public void Generate_StepThatIsNotFinite_IsNamedWithTheGuidance(int bad, string expected)
    {
        var asked = 0;
        _pipeline.UNet.register_forward_hook((_, _, _, _, output) => ++asked == bad ? output * float.NaN : output);
        var message = Assert.Throws<NotFiniteException>(() => _pipeline.Generate(new() { Prompt = "hair", Steps = 3, Guidance = 2.5, Sampler = SamplerKind.Ddim })).Message;
        Assert.Contains($"The latents of {expected} are not finite", message);
        Assert.Contains($"less guidance than {2.5:G4}.", message);
        Assert.DoesNotContain("Float16", message);
        Assert.Equal(bad, asked);
    }

    [Fact]
    public void Decode_NotFinite_SaysTheTypeAndWhatToDo()
    {
        var message = Assert.Throws<NotFiniteException>(() => _pipeline.Decode(full(1, 3, 8, 8, float.NaN))).Message;
        Assert.Contains("computes in Float32", message);
        Assert.Contains("Expected finite latents and weights", message);
    }

    [Fact]
    public void Dispose_FreesEveryNetwork()
    {
        foreach (var made in new[] { TinyPipeline.Create(), TinyPipeline.CreateXL() })
        {
            var weights = new[] { (nn.Module)made.UNet, made.Vae }.Concat(made.Text.Encoders).Select(static network => network.parameters().First()).ToList();
            made.Dispose();
            Assert.All(weights, static weight => Assert.True(weight.IsInvalid));
        }
    }

    [Fact]
    public void Constructor_SchedulerWithFaults_NamesThem() =>
        Assert.Contains(
            "steps_offset: got -1",
            Assert.Throws<ArgumentException>(() => new StableDiffusionPipeline(_pipeline.Text, _pipeline.UNet, _pipeline.Vae, _pipeline.Scheduler with { StepsOffset = -1 })).Message);

    [Fact]
    public void FromFolder_PartsThatDoNotFit_NamesTheFolderAndKeepsNoTensor()
    {
        _pipeline.Save(_folder.Path);
        ClipTokenizer.Train(["portrait"], vocabularySize: 520, modelMaxLength: 20).Save(_folder.In("tokenizer"));
        Assert.Throws<InvalidDataException>(() => StableDiffusionPipeline.FromFolder(_folder.Path));
        var before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;

        var message = Assert.Throws<InvalidDataException>(() => StableDiffusionPipeline.FromFolder(_folder.Path)).Message;

        Assert.StartsWith($"'{_folder.Path}' has", message);
        Assert.Contains("the tokenizer pads to 20 tokens", message);
        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    [Fact]
    public void HubName_OfASnapshot_IsItsNameAtItsCommit()
    {
        var commit = new string('a', 40);
        var snapshot = _folder.In("models--acme--tiny", "snapshots", commit);
        _pipeline.Save(snapshot);
        using var cached = StableDiffusionPipeline.FromFolder(snapshot);
        using var lora = StableDiffusionLora.Create(cached, "mine", new() { Rank = 1, TargetModules = ["to_q"] }, null, 1);
        Assert.Equal(($"acme/tiny@{commit}", snapshot, "acme/tiny"), (cached.HubName, cached.Source, BaseModelFacts.Of(cached)["ss_sd_model_name"]));
        Assert.Null(_pipeline.HubName);
        Assert.Null(_pipeline.Source);
        _pipeline.Save(_folder.In("plain"));
        using var plain = StableDiffusionPipeline.FromFolder(_folder.In("plain") + Path.DirectorySeparatorChar);
        Assert.Null(plain.HubName);
        Assert.Equal("plain", BaseModelFacts.Of(plain)["ss_sd_model_name"]);
    }

    [Fact]
    public void BaseModel_Folders_AreThoseOfTheirNames()
    {
        // Where the assets were not built along, the message says where they were looked for.
        foreach (var (name, file, find) in new (string, string, Func<string>)[] { ("avatar-diffusion", "model_index.json", static () => BaseModel.Folder), ("tag-classifier", "config.json", static () => BaseModel.ClassifierFolder) })
        {
            var beside = Path.Combine(AppContext.BaseDirectory, "Assets", name);
            if (File.Exists(Path.Combine(beside, file)))
            {
                Assert.Equal(beside, find());
            }
            else
            {
                Assert.Contains($"The embedded model {name} is missing; looked in {beside}", Assert.Throws<DirectoryNotFoundException>(find).Message);
            }
        }
    }
}
