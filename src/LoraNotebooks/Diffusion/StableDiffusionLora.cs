using System.Globalization;
using System.Runtime.CompilerServices;
using LoraNotebooks.Adapters;
using LoraNotebooks.Formats;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Models.Language;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace LoraNotebooks.Diffusion;

/// <summary>A network that a LoRA changes.</summary>
/// <param name="Name">As diffusers' folders call it: "unet", "text_encoder", "text_encoder_2".</param>
/// <param name="Model">The network with its adapters.</param>
public sealed record LoraNetwork(string Name, AdaptedModel Model)
{
    /// <summary>Whether it reads the prompt.</summary>
    public bool IsTextEncoder => Model.BaseModel is ClipTextModel;
}

/// <summary>A LoRA of a Stable Diffusion pipeline: one adapter beside the UNet and one beside each text encoder, with one weight, in one file.</summary>
/// <remarks>Several can be attached to one pipeline at once; their parts add up. The pipeline is used as before.</remarks>
public sealed class StableDiffusionLora : IDisposable
{
    private const string UNetName = "unet";
    private const string TextEncoderName = "text_encoder";
    private const string TextEncoder2Name = "text_encoder_2";

    /// <summary>One adapted model per network, shared by all LoRAs of it, so that the base is frozen once and given back once.</summary>
    private static readonly ConditionalWeakTable<nn.Module, AdaptedModel> Shared = [];

    private readonly StableDiffusionPipeline _pipeline;
    private readonly List<LoraNetwork> _networks = [];
    private double _weight = 1;
    private bool _enabled = true;

    private StableDiffusionLora(StableDiffusionPipeline pipeline, string name, IReadOnlyDictionary<string, string> metadata)
    {
        _pipeline = pipeline;
        Name = name;
        Metadata = metadata;
    }

    /// <summary>The adapter's name in both networks.</summary>
    public string Name { get; }

    /// <summary>The metadata of the file that this was loaded from; empty otherwise.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>What was left out of the file that this was loaded from, or is strange in it; empty if nothing.</summary>
    public IReadOnlyList<LoraNote> Notes { get; private init; } = [];

    /// <summary>w, how strongly the LoRA acts: 0 is the base model, 1 (default) the LoRA as trained. It may change during a generation.</summary>
    /// <exception cref="ArgumentException">Not a finite number.</exception>
    /// <exception cref="InvalidOperationException">The LoRA is merged.</exception>
    public double Weight
    {
        get => _weight;
        set => Apply(value, _enabled);
    }

    /// <summary>Whether the LoRA acts; default yes.</summary>
    /// <exception cref="InvalidOperationException">The LoRA is merged.</exception>
    public bool Enabled
    {
        get => _enabled;
        set => Apply(_weight, value);
    }

    /// <summary>The networks that this LoRA changes, the UNet first, then the text encoders in their order. What is done to all of them walks this.</summary>
    public IReadOnlyList<LoraNetwork> Networks => _networks;

    /// <summary>The UNet with its adapters, or <see langword="null"/> if this LoRA leaves it alone.</summary>
    public AdaptedModel? UNet => Find(UNetName);

    /// <summary>The text encoder with its adapters, or <see langword="null"/> if this LoRA leaves it alone.</summary>
    public AdaptedModel? TextEncoder => Find(TextEncoderName);

    /// <summary>SDXL's second text encoder with its adapters, or <see langword="null"/> if this LoRA leaves it alone.</summary>
    public AdaptedModel? TextEncoder2 => Find(TextEncoder2Name);

    /// <summary>What an optimizer trains of the UNet's adapter.</summary>
    public IReadOnlyList<Parameter> UNetParameters => Parameters(isTextEncoder: false);

    /// <summary>What an optimizer trains of the text encoders' adapters.</summary>
    public IReadOnlyList<Parameter> TextEncoderParameters => Parameters(isTextEncoder: true);

    /// <summary>What trains, in numbers, network by network.</summary>
    public IReadOnlyList<AdapterReport> Reports => [.. _networks.Select(network => network.Model.Report(Name) with { Name = $"{Name}, {network.Name}" })];

    /// <summary>Attaches a new LoRA, which begins as no change.</summary>
    /// <param name="pipeline">The pipeline; it stays the caller's.</param>
    /// <param name="name">A name that no other LoRA of the pipeline has.</param>
    /// <param name="unet">The settings for the UNet, or <see langword="null"/> to leave it alone.</param>
    /// <param name="textEncoder">The settings for the text encoder, in SDXL for both, or <see langword="null"/> to leave it alone.</param>
    /// <param name="seed">Decides A and the dropout.</param>
    /// <exception cref="ArgumentException">The name is taken, settings have faults or do not fit the networks; all faults are listed.</exception>
    /// <exception cref="InvalidOperationException">A network does not run some of the target layers.</exception>
    public static StableDiffusionLora Create(StableDiffusionPipeline pipeline, string name, LoraConfig? unet, LoraConfig? textEncoder, long seed)
    {
        ArgumentNullException.ThrowIfNull(pipeline);
        if (unet is null && textEncoder is null)
        {
            throw new ArgumentException(
                $"Got neither settings for the UNet nor for the text encoder of LoRA '{name}', expected those of at least one.",
                nameof(unet));
        }

        using var generator = new Generator(unchecked((ulong)seed));
        return Attach(new StableDiffusionLora(pipeline, name, new Dictionary<string, string>()), part => (part == UNetName ? unet : textEncoder) is { } config
            ? model => model.Add(name, config, generator)
            : null);
    }

    /// <summary>
    /// Attaches a LoRA from a file of any kind: a folder with PEFT's unet/ and text_encoder/, a .safetensors file in the names of any usual tool.
    /// What is not for this pipeline is left out, is told in one line on the error stream, and is in <see cref="Notes"/>.
    /// </summary>
    /// <param name="pipeline">The pipeline; it stays the caller's.</param>
    /// <param name="path">The folder or file.</param>
    /// <param name="name">A name that no other LoRA of the pipeline has; by default the file's.</param>
    /// <param name="strict">Whether what would be left out, assumed or is not finite is an error. Default no.</param>
    /// <exception cref="FileNotFoundException">There is no LoRA at that path.</exception>
    /// <exception cref="InvalidDataException">
    /// It is for another kind of model, which is said first, is damaged, or its weights do not fit; the first ten names are listed.
    /// </exception>
    public static StableDiffusionLora Load(StableDiffusionPipeline pipeline, string path, string? name = null, bool strict = false)
    {
        ArgumentNullException.ThrowIfNull(pipeline);
        ArgumentNullException.ThrowIfNull(path);
        name ??= Path.GetFileNameWithoutExtension(Path.TrimEndingDirectorySeparator(path));
        var architecture = BaseModelFacts.ArchitectureOf(pipeline);
        using var file = LoraFile.Read(path, [.. NetworksOf(pipeline).Select(network => Part(pipeline, network.Name, network.Module))], strict, architecture);
        try
        {
            return Attach(new StableDiffusionLora(pipeline, name, file.Metadata) { Notes = file.Notes }, part => file.States.TryGetValue(part, out var state)
                ? model => model.Add(name, state)
                : null);
        }
        catch (InvalidDataException fault) when (file.Origin.Mismatch(architecture) is { } mismatch)
        {
            throw new InvalidDataException($"{mismatch} {fault.Message}", fault);
        }
    }

    /// <summary>
    /// The adapters that stand beside a pipeline's networks, e.g. <c>unet: style × 0.8</c>; those that are merged or switched off are told as such.
    /// </summary>
    internal static IReadOnlyList<string> BesideNetworksOf(StableDiffusionPipeline pipeline) =>
    [
        .. from network in NetworksOf(pipeline)
           let model = Shared.TryGetValue(network.Module, out var adapted) ? adapted : null
           where model is not null
           from name in model.Names
           let state = model.MergedNames.Contains(name) ? ", merged" : model.Enabled ? "" : ", off"
           select string.Create(CultureInfo.InvariantCulture, $"{network.Name}: {name} × {model.GetWeight(name)}{state}"),
    ];

    /// <summary>Switches dropout on; nothing else of the adapters differs in training.</summary>
    public void Train() => ForEachModel(static model => model.Train());

    /// <summary>Switches dropout off.</summary>
    public void Eval() => ForEachModel(static model => model.Eval());

    /// <summary>Puts the LoRA, at its present weight, into the weights of the networks, so that it costs nothing more. Disposing takes it out again.</summary>
    /// <exception cref="InvalidOperationException">It is merged already, or a sum would not be finite; nothing is merged then.</exception>
    public void Merge()
    {
        var merged = new List<AdaptedModel>();
        try
        {
            ForEachModel(model =>
            {
                model.Merge(Name);
                merged.Add(model);
            });
        }
        catch
        {
            merged.ForEach(model => model.Unmerge(Name));
            throw;
        }
    }

    /// <summary>Starts the random numbers of dropout anew, so that a training step does not depend on those before.</summary>
    /// <param name="seed">The seed.</param>
    public void SeedDropout(long seed) => AdaptedModel.SeedDropout(_networks.Select(network => (network.Model, Name)), seed);

    /// <summary>Writes a kohya .safetensors file, which WebUI and ComfyUI read.</summary>
    /// <param name="path">The file to write or replace.</param>
    /// <param name="metadata">Facts to note, e.g. <c>ss_output_name</c>; they go before those of the file that this was loaded from.</param>
    /// <param name="dtype">The type of the weights in the file, default float32, which reads back exactly; float16 halves the file.</param>
    /// <exception cref="ArgumentException">The adapter has weights for which the format has no name; all are listed.</exception>
    public void SaveKohya(string path, IReadOnlyDictionary<string, string>? metadata = null, ScalarType dtype = ScalarType.Float32)
    {
        var facts = BaseModelFacts.Of(_pipeline);
        facts["modelspec.title"] = Name;

        // Of a file of another kind, only what kohya's have.
        var own = Metadata.Where(static pair =>
            pair.Key.StartsWith("ss_", StringComparison.Ordinal) || pair.Key.StartsWith("modelspec.", StringComparison.Ordinal));
        foreach (var (key, value) in own.Concat(metadata ?? new Dictionary<string, string>()))
        {
            facts[key] = value;
        }

        WithStates(states => KohyaFile.Write(path, states, facts, dtype));
    }

    /// <summary>Writes a folder with one PEFT adapter folder per network: unet/, text_encoder/.</summary>
    /// <param name="folder">Created where it is missing.</param>
    /// <param name="dtype">The type of the weights in the files, default float32, which reads back exactly.</param>
    public void SavePeft(string folder, ScalarType dtype = ScalarType.Float32) => WithStates(states =>
    {
        foreach (var (part, state) in states)
        {
            PeftFolder.Write(Path.Combine(folder, part.Name), state, dtype);
        }
    });

    /// <summary>Writes a folder with diffusers' pytorch_lora_weights.safetensors, for <c>pipeline.load_lora_weights(folder)</c>.</summary>
    /// <param name="folder">Created where it is missing.</param>
    /// <param name="dtype">The type of the weights in the file, default float32, which reads back exactly.</param>
    public void SaveDiffusers(string folder, ScalarType dtype = ScalarType.Float32) =>
        WithStates(states => DiffusersLoraFile.Write(Path.Combine(folder, LoraFile.DiffusersName), states, dtype));

    /// <summary>Detaches the LoRA; the pipeline is what it was.</summary>
    public void Dispose()
    {
        ForEachModel(model =>
        {
            if (model.MergedNames.Contains(Name))
            {
                model.Unmerge(Name);
            }

            model.Remove(Name);
            if (model.Names.Count == 0)
            {
                Shared.Remove(model.BaseModel);
                model.Dispose();
            }
        });
        _networks.Clear();
    }

    private static StableDiffusionLora Attach(StableDiffusionLora lora, Func<string, Action<AdaptedModel>?> adder)
    {
        try
        {
            foreach (var (name, module) in NetworksOf(lora._pipeline))
            {
                lora.AttachTo(name, module, adder(name), module is ClipTextModel text ? () => RunTextEncoder(text) : lora.RunUNet);
            }

            return lora;
        }
        catch
        {
            lora.Dispose();
            throw;
        }
    }

    private void AttachTo(string part, nn.Module network, Action<AdaptedModel>? add, Action run)
    {
        if (add is null)
        {
            return;
        }

        var model = Shared.GetValue(network, static module => new AdaptedModel(module));
        try
        {
            add(model);
        }
        catch when (model.Names.Count == 0)
        {
            Shared.Remove(network);
            model.Dispose();
            throw;
        }

        _networks.Add(new LoraNetwork(part, model));
        model.Probe(run);
    }

    /// <summary>The UNet on the smallest latents that its resolution levels can halve.</summary>
    private void RunUNet()
    {
        var config = _pipeline.UNet.Config;
        var first = _pipeline.UNet.parameters().First();
        var side = 1L << (config.BlockOutChannels.Count - 1);
        _pipeline.UNet.call(
            zeros(1, config.InChannels, side, side, first.dtype, first.device),
            zeros(1, ScalarType.Int64, first.device),
            new Conditioning(
                zeros(1, 1, config.CrossAttentionDim[0], first.dtype, first.device),
                config.HasAddedConditions ? zeros(1, config.TextEmbedsDim, first.dtype, first.device) : null,
                _pipeline.TimeIds(1)));
    }

    private static void RunTextEncoder(ClipTextModel encoder)
    {
        var ids = zeros(1, 1, ScalarType.Int64, encoder.parameters().First().device);
        if (encoder.Config.HasProjection)
        {
            encoder.HiddenStatesAndTextEmbeds(ids);
        }
        else
        {
            encoder.call(ids);
        }
    }

    private void Apply(double newWeight, bool newEnabled)
    {
        if (!double.IsFinite(newWeight))
        {
            throw new ArgumentException($"Got weight {newWeight} for LoRA '{Name}', expected a finite number; 0 to 1 is usual.");
        }

        ForEachModel(model => model.SetWeight(Name, newEnabled ? newWeight : 0));
        (_weight, _enabled) = (newWeight, newEnabled);
    }

    private void WithStates(Action<IReadOnlyList<(LoraPart Part, LoraState State)>> write)
    {
        var states = _networks.Select(network => (Part(_pipeline, network.Name, network.Model.BaseModel), network.Model.ToState(Name))).ToList();
        try
        {
            write(states);
        }
        finally
        {
            states.ForEach(static pair => pair.Item2.Dispose());
        }
    }

    private void ForEachModel(Action<AdaptedModel> action)
    {
        foreach (var network in _networks)
        {
            action(network.Model);
        }
    }

    private AdaptedModel? Find(string network) => _networks.Find(one => one.Name == network)?.Model;

    private IReadOnlyList<Parameter> Parameters(bool isTextEncoder) =>
        [.. _networks.Where(network => network.IsTextEncoder == isTextEncoder).SelectMany(network => network.Model.TrainableParameters(Name))];

    /// <summary>Every network of a pipeline that a LoRA may change.</summary>
    private static IEnumerable<(string Name, nn.Module Module)> NetworksOf(StableDiffusionPipeline pipeline)
    {
        yield return (UNetName, pipeline.UNet);
        yield return (TextEncoderName, pipeline.TextEncoder);
        if (pipeline.TextEncoder2 is { } second)
        {
            yield return (TextEncoder2Name, second);
        }
    }

    private static LoraPart Part(StableDiffusionPipeline pipeline, string name, nn.Module network) =>
        new(
            name,
            Prefix(name, pipeline.Text.IsDual),
            [.. network.named_modules().Select(static module => module.name).Where(static path => path.Length > 0)],
            HasSgmNames: pipeline.Text.IsDual && name == UNetName);

    /// <summary>kohya's names: one text encoder is te, two are te1 and te2.</summary>
    private static string Prefix(string name, bool isDual) => name switch
    {
        UNetName => "lora_unet",
        TextEncoder2Name => "lora_te2",
        _ => isDual ? "lora_te1" : "lora_te",
    };
}
