using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Training.Optimizers;

/// <summary>A tensor that an optimizer remembers from step to step; it begins with zeros.</summary>
/// <param name="Name">Its name in the state's file, e.g. "first_moment".</param>
/// <param name="Shape">Its shape; [] is a single number.</param>
/// <param name="Type">Its type. Default float32.</param>
public sealed record StateTensor(string Name, IReadOnlyList<long> Shape, ScalarType Type = ScalarType.Float32)
{
    /// <summary>How many numbers it has.</summary>
    public long Count => Shape.Aggregate(1L, static (product, size) => product * size);

    /// <summary>One number for each weight, all parameters in a row.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="shapes">The parameters' shapes.</param>
    /// <param name="type">Its type. Default float32.</param>
    public static StateTensor PerWeight(string name, IReadOnlyList<long[]> shapes, ScalarType type = ScalarType.Float32)
    {
        ArgumentNullException.ThrowIfNull(shapes);
        return new(name, [shapes.Sum(static shape => shape.Aggregate(1L, static (product, size) => product * size))], type);
    }
}

/// <summary>
/// A rule by which gradients change parameters: a formula, the tensors that it remembers, and its options, which are the record's properties. Files,
/// resuming, the memory plan and the run's record take from here all that they say of it.
/// </summary>
/// <remarks>
/// To add one, derive a record with a constructor without parameters, give its options defaults, and register it:
/// <c>OptimizerRegister.Add&lt;MyOptimizer&gt;()</c>.
/// The record itself never changes; what changes in a run is in an <see cref="OptimizerRun"/>.
/// </remarks>
public abstract record Optimizer
{
    private const string Ending = nameof(Optimizer);

    /// <summary>What it is called in settings and records: its type's name without "Optimizer", e.g. "AdamW".</summary>
    public string Name => NameOf(GetType());

    /// <summary>How many numbers per weight, float32, a step makes on its way and frees, beside gradients; for the memory plan. Default 1.</summary>
    public virtual int WorkingCopies => 1;

    /// <summary>Whether pictures and files are made with other weights than those that train, see <see cref="EvaluationWeights"/>. Default no.</summary>
    public virtual bool HasEvaluationWeights => false;

    /// <summary>
    /// What kohya's files call it (<c>ss_optimizer</c>), before its arguments.
    /// Default the type's full name, without a type around it, as around those of cells.
    /// </summary>
    protected virtual string MetadataName => GetType().FullName!.Split('+')[^1];

    /// <summary>The tensors that it remembers, of any shape and type.</summary>
    /// <param name="shapes">The shapes of all parameters, in order.</param>
    public abstract IEnumerable<StateTensor> States(IReadOnlyList<long[]> shapes);

    /// <summary>The formula: changes weights and states in place.</summary>
    /// <param name="step">Gradients, weights, rates and states.</param>
    public abstract void Update(OptimizerStep step);

    /// <summary>Gives states that do not begin with zeros their first values. By default there are none.</summary>
    /// <param name="weights">θ before the first step, float32 [P], all parameters in a row.</param>
    /// <param name="states">The states by name, to be changed in place.</param>
    public virtual void Start(Tensor weights, IReadOnlyDictionary<string, Tensor> states)
    {
    }

    /// <summary>The weights to draw pictures and write files with, e.g. an average; asked for where <see cref="HasEvaluationWeights"/>. By default θ.</summary>
    /// <param name="weights">θ, float32 [P], all parameters in a row.</param>
    /// <param name="states">The states by name.</param>
    public virtual Tensor EvaluationWeights(Tensor weights, IReadOnlyDictionary<string, Tensor> states) => weights;

    /// <summary>Every fault of the options: what was got, what is expected. Empty if there is none.</summary>
    public virtual IReadOnlyList<string> Validate() => [];

    /// <summary>What works with a run's other settings, but not as it seems, e.g. a learning rate that the formula does not use. By default nothing.</summary>
    /// <param name="config">The settings.</param>
    public virtual IEnumerable<string> Warnings(TrainingConfig config) => [];

    internal static string NameOf(Type type) =>
        type.Name.Length > Ending.Length && type.Name.EndsWith(Ending, StringComparison.Ordinal)
            ? type.Name[..^Ending.Length]
            : type.Name;

    /// <summary>The bytes of all states.</summary>
    internal long StateBytes(IReadOnlyList<long[]> shapes) => States(shapes).Sum(static state => state.Count * state.Type.ElementSize());

    /// <summary>What kohya's files tell of it: its name, the weight decay, and the options that are not the usual ones.</summary>
    internal string MetadataText(double weightDecay)
    {
        var usual = GetType().GetConstructor(Type.EmptyTypes) is { } create ? OptimizerJson.Options((Optimizer)create.Invoke(null)) : [];
        var changed = OptimizerJson.Options(this).Where(option => !JsonNode.DeepEquals(option.Value, usual[option.Key]))
            .Select(static option => $"{JsonNamingPolicy.SnakeCaseLower.ConvertName(option.Key)}={option.Value?.ToJsonString() ?? "None"}");
        return $"{MetadataName}({string.Join(",", changed.Prepend("weight_decay=" + weightDecay.ToString(CultureInfo.InvariantCulture)))})";
    }
}
